/** A page without a framework that joins a Teams meeting. */

import { CallClient, Features } from '@azure/communication-calling';
import { AzureCommunicationTokenCredential } from '@azure/communication-common';
import { createOnRecord, type Status, type TokenAnswer } from '@onrecord/client';
import '@onrecord/client/banner';

interface Visit {
  readonly acsToken: string;
  readonly meetingLink: string;
}

async function ask<T>(path: string): Promise<T> {
  const answer = await fetch(path, { method: 'POST' });
  if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status}`);
  return answer.json() as Promise<T>;
}

const said: Record<Status, string> = {
  connecting: '',
  live: '',
  offline: 'No connection to the notice service. The notices of your own client are shown.',
  unknown: 'No connection. It is not known whether the call is recorded.',
};

const status = document.querySelector<HTMLElement>('#status')!;
const join = document.querySelector<HTMLButtonElement>('#join')!;
const leave = document.querySelector<HTMLButtonElement>('#leave')!;

const onrecord = createOnRecord({
  url: 'https://onrecord.contoso.com',
  features: Features,
  getToken: () => ask<TokenAnswer>('/visits/v1/onrecord-token'),
  app: 'visits-web 1.0',
  onStatus: (now) => (status.textContent = said[now]),
  onError: (problem) => console.warn(problem.type, problem.detail),
});
document.querySelector('onrecord-banner')!.source = onrecord;
document.querySelector('onrecord-consent')!.source = onrecord;

join.addEventListener('click', async () => {
  join.disabled = true;
  const { acsToken, meetingLink } = await ask<Visit>('/visits/v1/join');
  const agent = await new CallClient().createCallAgent(new AzureCommunicationTokenCredential(acsToken));
  // Every call of the agent, also one that rings later.
  onrecord.attachAgent(agent);
  const call = agent.join({ meetingLink });
  leave.hidden = false;
  leave.addEventListener('click', () => void call.hangUp(), { once: true });
});
