//! Commands that the person can paste into another terminal.

use serde_json::json;

use super::ground::Stage;
use crate::clock;
use crate::simulator::{Chance, World};

/// How to see the evidence of a call, and to recompute it: with the key, at these addresses, by
/// this program.
pub(super) fn of_evidence(key: &str, evidence: &str, facts: &str, program: &str) -> String {
    let key = format!("-H 'authorization: Bearer {key}'");
    let program = program.replace('\'', r"'\''");
    format!(
        r"# All of it, with the facts that decided, what would have changed it, and every version.
curl -s {key} '{evidence}'

# The report, computed once more from its facts, without the server.
curl -s {key} '{facts}' | '{program}' evidence recompute -
"
    )
}

/// A call that only the person tells of, by hand.
pub(super) fn to_paste(stage: &Stage, world: &World, chance: &mut Chance) -> String {
    let Stage {
        url,
        event_grid,
        admin_key,
        ..
    } = stage;
    let (correlation, attachment) = (chance.guid(), chance.guid());
    let user = format!(
        "8:acs:{}_0000002a-0000-0000-0000-000000000001",
        world.resource_id
    );
    let server_call_id = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!(
            "https://api.flightproxy.skype.com/api/v2/cp/by-hand/conv/{}",
            chance.guid()
        ))
    };
    let started = json!([{
        "id": chance.guid(),
        "topic": "/subscriptions/by-hand/resourceGroups/rg-calls/providers/Microsoft.Communication/communicationServices/by-hand",
        "subject": format!("call/{server_call_id}/startedBy/{user}"),
        "eventType": "Microsoft.Communication.CallStarted",
        "eventTime": clock::now().format("%Y-%m-%dT%H:%M:%S%.6fZ").to_string(),
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "data": {
            "startedBy": { "communicationIdentifier": { "rawId": user, "communicationUser": { "id": user } }, "role": "Attendee" },
            "serverCallId": server_call_id,
            "correlationId": correlation,
            "isTwoParty": true,
        },
    }]);
    let participant = json!({ "participant": { "raw_id": user } });
    let report = json!({ "report_id": "by-hand-1", "attachment": attachment, "sequence": 1, "server_call_id": server_call_id, "recording": "on" });
    let json_type = "-H 'content-type: application/json'";
    let key = format!("-H 'authorization: Bearer {admin_key}'");
    format!(
        r#"
To look on from another terminal, paste:

# The calls that go on, and the newest lines of the book.
curl -s {key} '{url}/v1/calls?state=open&limit=3'
curl -s {key} '{url}/v1/events?limit=3'

# Listen to every notice.
curl -sN {key} '{url}/v1/notices/stream'

# Begin a call as Event Grid tells of one.
curl -s -H 'x-onrecord-key: {source_key}' {json_type} '{url}/ingest/event-grid/{source}' -d '{started}'

# Be a client in it that sees a recording begin.
TOKEN=$(curl -s {key} {json_type} '{url}/v1/subscriber-tokens' -d '{participant}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
curl -s -H "authorization: Bearer $TOKEN" {json_type} '{url}/v1/reports' -d '{report}'

# What is on record of it.
curl -s {key} '{url}/v1/calls/{correlation}'
curl -s {key} '{url}/v1/calls/{correlation}/timeline'
"#,
        source = event_grid.name,
        source_key = event_grid.key,
    )
}
