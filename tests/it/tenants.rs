//! Nobody sees another tenant: everything that one has, tried by the other, over all routes.

use chrono::Utc;
use onrecord::store::Role;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::acknowledgements::{are_accepted, displayed, says};
use crate::azure::{ALICE, Call};
use crate::client::{Stream, http};
use crate::corridor::urlencoded;
use crate::house::{TestHouse, until};

/// What one tenant has.
struct Estate {
    call: Call,
    attachment: Uuid,
    token: String,
    cursor: String,
    event: String,
    exception: String,
}

/// A recorded call with everything that there can be of it.
async fn estate(house: &mut TestHouse) -> Estate {
    let (call, attachment) = (Call::new(), Uuid::new_v4());
    let token = house.token(ALICE).await;
    let mut stream = house
        .listens(&token, &format!("attachment={attachment}"))
        .await;
    house.event_grid_posts(&call.started()).await;
    house
        .call_automation_posts(&call.callback("CallConnected", Utc::now(), &json!({})))
        .await;
    house
        .call_automation_posts(&call.recording("active", Utc::now()))
        .await;
    let on = json!({ "server_call_id": call.server_call_id, "recording": "on" });
    says(house, &token, &attachment, 1, &on).await;
    are_accepted(house, &token, &[displayed(&attachment, &json!({}))]).await;
    let cursor = stream.hears_recording("on").await.id;
    let (status, _) = house.posts("/ingest/event-grid/eg", "no JSON").await;
    assert_eq!(status, StatusCode::OK);
    let key = house.api_key("contoso", Role::Admin).await;
    until("a text", || async {
        let registered = http()
            .put(house.url("/v1/notice-texts/1"))
            .bearer_auth(&key)
            .json(&json!({ "texts": { "en": "This call is recorded." } }));
        (registered.send().await.unwrap().status() == StatusCode::CREATED).then_some(())
    })
    .await;
    let refused = http()
        .post(house.url("/ingest/event-grid/eg"))
        .header("x-onrecord-key", "a wrong one")
        .body("[]");
    assert_eq!(refused.send().await.unwrap().status(), 503);
    house
        .sees("/v1/outages", |it| it["outages"] != json!([]))
        .await;
    let quarantined = house
        .sees("/v1/exceptions", |it| it["exceptions"] != json!([]))
        .await;
    let events = house
        .sees("/v1/events", |it| {
            it["events"].as_array().unwrap().len() >= 4
        })
        .await;
    Estate {
        call,
        attachment,
        token,
        cursor,
        event: events["events"][0]["id"].as_str().unwrap().to_owned(),
        exception: quarantined["exceptions"][0]["id"]
            .as_str()
            .unwrap()
            .to_owned(),
    }
}

/// A caller of the other tenant.
struct Stranger<'h> {
    house: &'h TestHouse,
    key: String,
    token: String,
}

impl<'h> Stranger<'h> {
    async fn to(house: &'h TestHouse) -> Self {
        let key = house.api_key("fabrikam", Role::Admin).await;
        let order = json!({ "participant": { "raw_id": ALICE } });
        // The same person, as the other tenant names them.
        let token = until("a token", || async {
            let asked = http()
                .post(house.url("/v1/subscriber-tokens"))
                .bearer_auth(&key)
                .json(&order);
            let minted = asked.send().await.ok()?;
            if minted.status() != StatusCode::CREATED {
                return None;
            }
            let minted: Value = minted.json().await.ok()?;
            Some(minted["token"].as_str()?.to_owned())
        })
        .await;
        Self { house, key, token }
    }

    async fn asks(
        &self,
        method: Method,
        path: &str,
        bearer: &str,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut asked = http()
            .request(method, self.house.url(path))
            .bearer_auth(bearer);
        if let Some(body) = body {
            asked = asked.json(body);
        }
        let answer = asked.send().await.unwrap();
        (answer.status(), answer.json().await.unwrap_or_default())
    }
}

/// A node reads a new key when it is first shown, if the store answers.
async fn house_knows(house: &TestHouse, key: &str) {
    until("the key is known", || async {
        let asked = http().get(house.url("/v1/calls")).bearer_auth(key);
        (asked.send().await.unwrap().status() == StatusCode::OK).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_tenant_is_found_by_another_over_any_route() {
    let mut house = TestHouse::open().await;
    let estate = estate(&mut house).await;
    let stranger = Stranger::to(&house).await;
    let Estate {
        call,
        attachment,
        event,
        exception,
        ..
    } = &estate;
    let attachment_text = attachment.to_string();
    let server_call_id = urlencoded(&call.server_call_id);
    let aliases = [
        call.correlation.as_str(),
        server_call_id.as_str(),
        call.leg.as_str(),
        attachment_text.as_str(),
    ];
    let mut unknown: Vec<(Method, String)> = Vec::new();
    for alias in aliases {
        for below in ["", "/timeline", "/evidence", "/facts"] {
            unknown.push((Method::GET, format!("/v1/calls/{alias}{below}")));
        }
    }
    unknown.extend([
        (Method::GET, format!("/v1/events/{event}")),
        (Method::GET, format!("/v1/exceptions/{exception}")),
        (Method::POST, format!("/v1/exceptions/{exception}/close")),
    ]);
    let reason = json!({ "reason": "it is not mine, but I try to close it" });
    for (method, path) in unknown {
        let body = (method == Method::POST).then_some(&reason);
        let (status, answer) = stranger.asks(method, &path, &stranger.key, body).await;
        assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer:#}");
    }

    let correlation = &call.correlation;
    let key = house.api_key("contoso", Role::Admin).await;
    house_knows(&house, &key).await;
    for (path, list) in [
        ("/v1/calls".to_owned(), "calls"),
        ("/v1/events".to_owned(), "events"),
        (format!("/v1/events?call={correlation}"), "events"),
        ("/v1/quarantine".to_owned(), "quarantined"),
        ("/v1/outages".to_owned(), "outages"),
        ("/v1/exceptions".to_owned(), "exceptions"),
        (format!("/v1/exceptions?call={correlation}"), "exceptions"),
        ("/v1/notice-texts".to_owned(), "versions"),
    ] {
        // What is of a call that is not the stranger's is either unknown or empty.
        let (status, answer) = stranger.asks(Method::GET, &path, &stranger.key, None).await;
        if status == StatusCode::OK {
            assert_eq!(answer[list], json!([]), "{path}: {answer:#}");
        } else {
            assert_eq!(status, StatusCode::NOT_FOUND, "{path}: {answer:#}");
        }
        let (status, own) = stranger.asks(Method::GET, &path, &key, None).await;
        let found = own[list].as_array().map_or(0, Vec::len);
        // No exception is of this call.
        if !path.starts_with("/v1/exceptions?") {
            assert!(status == StatusCode::OK && found > 0, "{path}: {own:#}");
        }
    }
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_tenant_is_heard_or_moved_by_another() {
    let mut house = TestHouse::open().await;
    let estate = estate(&mut house).await;
    let stranger = Stranger::to(&house).await;
    let server_call_id = urlencoded(&estate.call.server_call_id);
    let reaches = [
        format!("attachment={}", estate.attachment),
        format!("server_call_id={server_call_id}"),
    ];
    for reach in &reaches {
        for bearer in [&stranger.key, &stranger.token] {
            let path = format!("/v1/indications?{reach}");
            let (status, level) = stranger.asks(Method::GET, &path, bearer, None).await;
            assert_eq!(status, StatusCode::OK, "{level:#}");
            assert_eq!(
                level["indication"]["recording"]["state"], "unknown",
                "{level:#}"
            );
            assert!(level["call"].is_null(), "{level:#}");
            // Not even with the other's cursor.
            let url = house.url(&format!("/v1/notices/stream?{reach}"));
            let mut stream = Stream::open(url, bearer, Some(&estate.cursor)).await;
            stream.hears("gap").await;
            let snapshot = stream.hears("snapshot").await;
            assert_eq!(snapshot.recording(), "unknown");
        }
    }
    // What the stranger says of the same ids is said in the stranger's own world.
    let off = json!({
        "report_id": Uuid::new_v4(), "attachment": estate.attachment, "sequence": 99,
        "server_call_id": estate.call.server_call_id, "recording": "off",
    });
    let (status, answer) = stranger
        .asks(Method::POST, "/v1/reports", &stranger.token, Some(&off))
        .await;
    assert_eq!(status, StatusCode::OK, "{answer:#}");
    assert_ne!(answer["call"], estate.call.correlation.as_str());
    assert_eq!(answer["indication"]["recording"]["state"], "off");
    let hidden = displayed(&estate.attachment, &json!({ "kind": "hidden" }));
    let (status, _) = stranger
        .asks(
            Method::POST,
            "/v1/acknowledgements",
            &stranger.token,
            Some(&json!([hidden])),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    let told = format!("/v1/calls/{}/timeline?limit=1000", estate.attachment);
    until("the stranger's own word", || async {
        let (_, timeline) = stranger.asks(Method::GET, &told, &stranger.key, None).await;
        timeline.to_string().contains("notice.hidden").then_some(())
    })
    .await;
    let path = format!("/v1/indications?attachment={}", estate.attachment);
    let (_, level) = stranger.asks(Method::GET, &path, &estate.token, None).await;
    assert_eq!(level["indication"]["recording"]["state"], "on", "{level:#}");
    let timeline = house
        .reads(&format!(
            "/v1/calls/{}/timeline?limit=1000",
            estate.call.correlation
        ))
        .await;
    assert!(
        !timeline.to_string().contains("notice.hidden"),
        "{timeline:#}"
    );
    house.stop().await;
}
