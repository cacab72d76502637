/** A React app that calls a Teams user. */

import { useEffect, useState } from 'react';
import { CallClient, Features, type Call, type CallAgent } from '@azure/communication-calling';
import { AzureCommunicationTokenCredential } from '@azure/communication-common';
import { createOnRecord, type TokenAnswer } from '@onrecord/client';
import { RecordingBanner, useOnRecord } from '@onrecord/client/react';

async function getToken(): Promise<TokenAnswer> {
  const answer = await fetch('/visits/v1/onrecord-token', { method: 'POST' });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  return answer.json() as Promise<TokenAnswer>;
}

// One client for the page.
const onrecord = createOnRecord({ url: 'https://onrecord.contoso.com', features: Features, getToken });

export function App({ acsToken, teamsUser }: { acsToken: string; teamsUser: string }) {
  const [agent, setAgent] = useState<CallAgent>();
  const [call, setCall] = useState<Call>();
  const { phase, status, indication, leg } = useOnRecord(onrecord, call);

  useEffect(() => {
    const made = new CallClient().createCallAgent(new AzureCommunicationTokenCredential(acsToken));
    void made.then(setAgent);
    return () => void made.then((old) => old.dispose());
  }, [acsToken]);

  return (
    <>
      <RecordingBanner source={leg} locale="en" />
      <main>
        <button disabled={!agent || phase === 'connected'} onClick={() => setCall(agent?.startCall([{ microsoftTeamsUserId: teamsUser }]))}>
          Call
        </button>
        <button disabled={!call} onClick={() => void call?.hangUp().then(() => setCall(undefined))}>
          Hang up
        </button>
        {status === 'offline' && <p role="status">No connection to the notice service.</p>}
        {indication.recording === 'on' && <p>Do not say your password.</p>}
      </main>
    </>
  );
}
