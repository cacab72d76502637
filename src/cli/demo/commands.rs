//! Commands to paste into another terminal.

use serde_json::json;

use super::environment::DemoServer;
use crate::clock;
use onrecord_simulator::{SeededRng, SimulatedResource};

/// The commands that print the evidence of a call and recompute it, with this key, at these
/// addresses, by this program.
pub(super) fn evidence_commands(key: &str, evidence: &str, facts: &str, program: &str) -> String {
    let key = format!("-H 'authorization: Bearer {key}'");
    let program = program.replace('\'', r"'\''");
    format!(
        r"# The whole evidence: the facts that decided, what would have changed it, and every version.
curl -s {key} '{evidence}'

# The report, recomputed from its facts without the server.
curl -s {key} '{facts}' | '{program}' evidence recompute -
"
    )
}

/// The commands for a call of one's own, posted by hand.
pub(super) fn manual_call(
    server: &DemoServer,
    resource: &SimulatedResource,
    rng: &mut SeededRng,
) -> String {
    let DemoServer { url, event_grid, admin_key, .. } = server;
    let (correlation, attachment) = (rng.guid(), rng.guid());
    let user = format!("8:acs:{}_0000002a-0000-0000-0000-000000000001", resource.resource_id);
    let server_call_id = {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(format!(
            "https://api.flightproxy.skype.com/api/v2/cp/by-hand/conv/{}",
            rng.guid()
        ))
    };
    let started = json!([{
        "id": rng.guid(),
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
Paste these commands into another terminal:

# The calls in progress, and the first entries of the ledger.
curl -s {key} '{url}/v1/calls?state=open&limit=3'
curl -s {key} '{url}/v1/events?limit=3'

# Receive every notice.
curl -sN {key} '{url}/v1/notices/stream'

# Start a call of your own, as Event Grid posts it.
curl -s -H 'x-onrecord-key: {source_key}' {json_type} '{url}/ingest/event-grid/{source}' -d '{started}'

# Report from a client in that call that a recording has started.
TOKEN=$(curl -s {key} {json_type} '{url}/v1/subscriber-tokens' -d '{participant}' | sed 's/.*"token":"\([^"]*\)".*/\1/')
curl -s -H "authorization: Bearer $TOKEN" {json_type} '{url}/v1/reports' -d '{report}'

# The record of that call.
curl -s {key} '{url}/v1/calls/{correlation}'
curl -s {key} '{url}/v1/calls/{correlation}/timeline'
"#,
        source = event_grid.name,
        source_key = event_grid.key,
    )
}
