//! The main job: durable before it is answered, entered once, heard within milliseconds.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::house::TestHouse;

const ALICE: &str = "8:acs:11111111-1111-4111-8111-111111111111_alice";

fn call_started(correlation: &Uuid, server_call_id: &str) -> Value {
    json!([{
        "id": Uuid::new_v4(),
        "topic": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Communication/communicationServices/c",
        "subject": format!("call/{server_call_id}/startedBy/{ALICE}"),
        "eventType": "Microsoft.Communication.CallStarted",
        "eventTime": chrono::Utc::now().to_rfc3339(),
        "dataVersion": "1.0",
        "metadataVersion": "1",
        "data": {
            "startedBy": { "communicationIdentifier": { "rawId": ALICE, "communicationUser": { "id": ALICE } }, "role": "Presenter" },
            "serverCallId": server_call_id,
            "group": { "id": "00000000-0000-0000-0000-000000000000" },
            "isTwoParty": true,
            "correlationId": correlation,
            "isRoomsCall": false
        }
    }])
}

fn server_call_id() -> String {
    use base64::Engine as _;
    let url = format!("https://api.flightproxy.skype.com/api/v2/cp/conv.skype.com/conv/{}?i=10&e=1", Uuid::new_v4());
    base64::engine::general_purpose::STANDARD.encode(url)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_and_a_report_are_entered_once_and_a_client_hears_that_recording_is_on() {
    let mut house = TestHouse::open().await;
    let (correlation, server_call_id, attachment) = (Uuid::new_v4(), server_call_id(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house.listens(&token, &format!("attachment={attachment}")).await;
    assert_eq!(stream.hears("snapshot").await.recording(), "unknown");

    let started = call_started(&correlation, &server_call_id);
    house.event_grid_posts(&started).await;
    house.event_grid_posts(&started).await;
    let report = json!({ "report_id": "r1", "attachment": attachment, "sequence": 1, "server_call_id": server_call_id, "recording": "on" });
    let (status, answer) = house.reports(&token, &report).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["indication"]["recording"]["state"], "on");

    let heard = stream.hears_recording("on").await;
    assert_eq!(heard.body["variant"], "recording_on");

    let call = house.sees(&format!("/v1/calls/{correlation}"), |call| call["indication"]["recording"]["state"] == "on").await;
    assert_eq!(call["call"], correlation.to_string());
    assert_eq!(call["participants"][0]["raw_id"], ALICE);
    let timeline = house.reads(&format!("/v1/calls/{correlation}/timeline")).await;
    let types: Vec<&str> = timeline["events"].as_array().unwrap().iter().filter_map(|event| event["type"].as_str()).collect();
    assert_eq!(types, ["call.started", "report"]);
    house.stop().await;
}
