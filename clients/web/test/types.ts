/** What must compile: every kind of call and agent of the Calling SDK can be attached, in its newest version and in the oldest that is supported. */

import { Features, type Call, type CallAgent, type TeamsCall, type TeamsCallAgent } from '@azure/communication-calling';
import * as oldest from 'communication-calling-oldest';
import { createOnRecord, type Leg } from '../src/index.js';

const options = { url: 'https://onrecord.contoso.com', getToken: async () => 'token', share: false, locale: 'de' } as const;

export function attachAll(call: Call, teamsCall: TeamsCall, agent: CallAgent, teamsAgent: TeamsCallAgent): Leg[] {
  const onrecord = createOnRecord({ ...options, features: Features });
  onrecord.attachAgent(agent);
  onrecord.attachAgent(teamsAgent)();
  return [onrecord.attach(call), onrecord.attach(teamsCall)];
}

export function attachAllOfOldest(call: oldest.Call, teamsCall: oldest.TeamsCall, agent: oldest.CallAgent, teamsAgent: oldest.TeamsCallAgent): Leg[] {
  const onrecord = createOnRecord({ ...options, features: oldest.Features });
  onrecord.attachAgent(agent);
  onrecord.attachAgent(teamsAgent)();
  return [onrecord.attach(call), onrecord.attach(teamsCall)];
}
