select call, session, participant, duration_ms, clients, app, sdk from reading.sessions order by session;
