//! The set-up of a source, and what the doctor finds.

use onrecord::http::api_role::ApiRole;
use reqwest::{Method, StatusCode};

use super::browser::ConsoleBrowser;
use super::pages::{assert_strict, recorded_call};
use crate::support::app::{TestApp, until};
use crate::support::client::http;

/// The path of the set-up of the source of the tests.
const SETUP: &str = "/console/sources/setup?source=eg";

/// Waits until a page has a text.
async fn shows(browser: &mut ConsoleBrowser, path: &str, text: &str) -> String {
    let browser = tokio::sync::Mutex::new(browser);
    until(text, || async {
        let page = browser.lock().await.opens(path).await;
        page.html.contains(text).then_some(page.html)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_set_up_of_a_source_ends_when_an_event_has_passed_and_a_client_has_reported() {
    let mut app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let page = browser.opens(SETUP).await;
    assert_strict(SETUP, &page);
    // In the settings; the other four ticks are missing.
    assert_eq!(page.html.matches("sheet done").count(), 1, "{}", page.html);
    assert!(!page.html.contains("The source is connected"));
    assert!(page.html.contains("data-again=\"3\""));

    let handshake = http()
        .request(Method::OPTIONS, app.url("/ingest/event-grid/eg"))
        .header("webhook-request-origin", "eventgrid.azure.net");
    assert_eq!(handshake.send().await.unwrap().status(), StatusCode::OK);
    shows(&mut browser, SETUP, "CloudEvents").await;
    let refused = http().post(app.url("/ingest/event-grid/eg?key=wrong")).body("[]");
    assert_eq!(refused.send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    shows(&mut browser, SETUP, "refused").await;

    let call = recorded_call(&mut app).await.correlation;
    let html = shows(&mut browser, SETUP, "The source is connected").await;
    assert_eq!(html.matches("sheet done").count(), 5, "{html}");
    assert!(html.contains(&format!("href=\"/console/calls/{call}\"")));
    assert!(html.contains("Microsoft.Communication.Call") && !html.contains("data-again"));

    // Another tenant sees nothing of it.
    let mut other = ConsoleBrowser::signed_in(&app, "fabrikam", ApiRole::Admin).await;
    let page = other.opens(SETUP).await;
    assert_eq!(page.html.matches("sheet done").count(), 0, "{}", page.html);
    let page = other.opens("/console/sources/setup").await;
    assert!(
        page.html.contains("<option selected>other</option>") && !page.html.contains("eg</option>")
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_of_the_set_up_have_the_values_of_the_form_and_nothing_that_a_shell_runs() {
    let app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let path = format!(
        "{SETUP}&origin=https%3A%2F%2Frecord.contoso.com&name=acs-1&group=calls&resource=4dad2986"
    );
    let page = browser.opens(&path).await;
    for part in [
        "--endpoint https://record.contoso.com/ingest/event-grid/eg ",
        "az communication show --name acs-1 --resource-group calls",
        "Set-CsTeamsAcsFederationConfiguration -EnableAcsUsers $true -AllowedAcsResources &#34;4dad2986&#34;",
        "Set-CsExternalAccessPolicy -Identity Global -EnableAcsFederationAccess $true",
        "[sources.eg]",
        "onrecord key source",
    ] {
        assert!(page.html.contains(part), "{part}: {}", page.html);
    }
    let callbacks = browser.opens("/console/sources/setup?source=ca").await;
    assert!(callbacks.html.contains("callbackUri") && !callbacks.html.contains("Handshake"));
    let page = browser.gets(&format!("{SETUP}&name=a%3Breboot")).await;
    assert_eq!(page.status, StatusCode::BAD_REQUEST);
    assert!(page.html.contains("role=\"alert\"") && page.html.contains("value=\"a;reboot\""));
    assert!(!page.html.contains("--name a;reboot"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_findings_of_the_doctor_are_those_of_the_tenant_and_auditors_see_them() {
    let app = TestApp::open().await;
    let mut auditor = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Auditor).await;
    // The page does not wait for the end of the first examination.
    shows(&mut auditor, "/console/health", "Examined at").await;
    let page = auditor.opens("/console/health").await;
    assert_strict("/console/health", &page);
    for part in ["postgres.reachable", "kafka.reachable", "source.silence", "settings.resource_ids"]
    {
        assert!(page.html.contains(part), "{part}: {}", page.html);
    }
    // A remedy stands below its finding.
    assert!(page.html.contains("az communication show --name NAME"), "{}", page.html);
    assert!(page.html.contains("ca, eg") && !page.html.contains("</code> other"), "{}", page.html);
    let mut analyst = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let page = analyst.opens("/console/health").await;
    assert!(page.html.contains("The roles auditor and admin see the findings"));
    assert!(!page.html.contains("postgres.reachable"));
    app.stop().await;
}
