select call, participant, display_name, identity, ours, outsider, session_count, case when last_left_at is not null then present_ms end,
    obligations, told, told_in_time, never_told, longest_exposure_ms, recording_consent, transcription_consent
from reading.participants order by call, participant;
