/** What must compile: every kind of call and agent of the Calling SDK can be attached. */

import { Features, type Call, type CallAgent, type TeamsCall, type TeamsCallAgent } from '@azure/communication-calling';
import { createOnRecord, type Leg } from '../src/index.js';

export function attachAll(call: Call, teamsCall: TeamsCall, agent: CallAgent, teamsAgent: TeamsCallAgent): Leg[] {
  const onrecord = createOnRecord({ url: 'https://onrecord.contoso.com', features: Features, getToken: async () => 'token', share: false, locale: 'de' });
  onrecord.attachAgent(agent);
  onrecord.attachAgent(teamsAgent)();
  return [onrecord.attach(call), onrecord.attach(teamsCall)];
}
