/** Plays the interface of `@azure/communication-calling` that the package uses. */

class Emitter {
  #listeners = new Map();
  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }
  off(event, listener) {
    this.#listeners.set(event, (this.#listeners.get(event) ?? []).filter((other) => other !== listener));
  }
  emit(event, value) {
    for (const listener of this.#listeners.get(event) ?? []) listener(value);
  }
}

export const Features = { Recording: Symbol('Recording'), Transcription: Symbol('Transcription'), Capabilities: Symbol('Capabilities') };

class Recording extends Emitter {
  isRecordingActive = false;
  recordings = [];
  isTeamsConsentRequired = false;
  granted = 0;
  constructor(call) {
    super();
    this.call = call;
  }
  async grantTeamsConsent() {
    await new Promise((done) => setTimeout(done, 50));
    if (this.call.refuseConsent) throw new Error('the platform refused the consent');
    this.granted++;
    // One consent answers for both, and raises no event.
    this.call.recording.isTeamsConsentRequired = this.call.transcription.isTeamsConsentRequired = false;
  }
}
class Transcription extends Emitter {
  isTranscriptionActive = false;
  isTeamsConsentRequired = false;
  constructor(call) {
    super();
    this.call = call;
  }
  grantTeamsConsent() {
    return this.call.recording.grantTeamsConsent();
  }
}

export class Call extends Emitter {
  state = 'Connecting';
  constructor(serverCallId, participantId) {
    super();
    this.recording = new Recording(this);
    this.transcription = new Transcription(this);
    this.capabilities = new Emitter();
    this.info = { participantId, threadId: undefined, groupId: undefined, getServerCallId: async () => serverCallId };
  }
  feature(factory) {
    if (factory === Features.Recording) return this.recording;
    if (factory === Features.Transcription) return this.transcription;
    if (factory === Features.Capabilities) return this.capabilities;
    throw new Error('no such feature');
  }
  to(state) {
    this.state = state;
    this.emit('stateChanged');
  }
  record(active) {
    this.recording.isRecordingActive = active;
    this.recording.emit('isRecordingActiveChanged');
  }
  transcribe(active) {
    this.transcription.isTranscriptionActive = active;
    this.transcription.emit('isTranscriptionActiveChanged');
  }
  requireConsent() {
    this.recording.isTeamsConsentRequired = this.transcription.isTeamsConsentRequired = true;
    const reasons = { isPresent: false, reason: 'ExplicitConsentRequired' };
    this.capabilities.emit('capabilitiesChanged', { newValue: { unmuteMic: reasons, turnVideoOn: reasons } });
  }
}

export class CallAgent extends Emitter {
  calls = [];
  add(call) {
    this.calls.push(call);
    this.emit('callsUpdated', { added: [call], removed: [] });
  }
  remove(call) {
    this.calls.splice(this.calls.indexOf(call), 1);
    this.emit('callsUpdated', { added: [], removed: [call] });
  }
}
