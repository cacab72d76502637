//! The twenty questions in the console: their answers are the known ones.

use std::fs;
use std::path::PathBuf;

use onrecord::http::api_role::ApiRole;
use reqwest::StatusCode;
use serde_json::json;

use super::browser::ConsoleBrowser;
use super::pages::assert_strict;
use crate::query::call_filters::HistoryApp;
use crate::support::app::TestApp;

/// The period of the known answers.
const PERIOD: &str = "from=2025-10-24&to=2025-10-27&tz=Europe%2FBerlin";
/// The person of question 17.
const PERSON: &str =
    "person=8%3Aacs%3A4dad2986-ce83-4960-aa06-e9ab85a0bcc1_00000000&purpose=a+question";

/// The known answer to a question.
fn known(number: u32) -> String {
    let path = format!("tests/data/sql/answers/{number:02}.csv");
    fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_question_has_its_known_answer_as_table_drawing_and_file() {
    let history = HistoryApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&history.app, "contoso", ApiRole::Analyst).await;
    let list = browser.opens("/console/analytics").await;
    for number in 1..=20 {
        assert!(list.html.contains(&format!("href=\"/console/analytics/{number}\"")), "{number}");
        let query = if number == 17 { format!("{PERIOD}&{PERSON}") } else { PERIOD.to_owned() };
        let file = browser.opens(&format!("/console/analytics/{number}/csv?{query}")).await;
        let (_, rows) = file.html.split_once("\r\n").unwrap();
        assert_eq!(rows.replace("\r\n", "\n"), known(number), "question {number}");
        // The page comes without the answer, and says where it is, to browsers with and without scripts.
        let path = format!("/console/analytics/{number}?{query}");
        let page = browser.opens(&path).await;
        assert_strict(&path, &page);
        assert!(!page.html.contains("<tr role=\"row\">"), "question {number}");
        let address = page.html.split("data-content=\"").nth(1).unwrap().split('"').next().unwrap();
        let refresh =
            format!("<noscript><meta http-equiv=\"refresh\" content=\"0; url={address}\">");
        assert!(page.html.contains(&refresh), "{}", page.html);
        let path = address.replace("&#38;", "&");
        let page = browser.opens(&path).await;
        assert_strict(&path, &page);
        let rows = page.html.matches("<tr role=\"row\">").count() - 1;
        assert_eq!(
            rows,
            known(number).lines().count().min(if [1, 7, 8, 18, 19].contains(&number) {
                60
            } else {
                200
            }),
            "question {number}"
        );
        assert!(page.html.contains("aria-labelledby=\"plot-title"), "question {number}");
        // Each column has a heading in words.
        let headings = page.html.split("<th scope=\"col\"").skip(1);
        for heading in headings.map(|it| it.split('>').nth(1).unwrap()) {
            let heading = heading.split('<').next().unwrap();
            assert!(!heading.contains('_') && !heading.is_empty(), "{number}: {heading}");
        }
    }
    // Codes are words, a latency that was never reached is so in words.
    let page = browser.opens(&format!("/console/analytics/3/answer?{PERIOD}")).await;
    assert!(page.html.contains("<strong>never</strong>"), "{}", page.html);
    browser.headers = vec![("accept-language", "de".to_owned())];
    let page = browser.opens(&format!("/console/analytics/6/answer?{PERIOD}")).await;
    assert!(page.html.contains("Wer wurde nie informiert"), "{}", page.html);
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sql_and_the_address_of_a_page_are_those_of_its_period() {
    let history = HistoryApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&history.app, "contoso", ApiRole::Analyst).await;
    let path = "/console/analytics/1?from=2025-10-24&to=2025-10-24&tz=Asia%2FTokyo";
    let page = browser.opens(path).await;
    let quote = "&#39;";
    for part in [
        format!("timestamp {quote}2025-10-24{quote} at time zone {quote}Asia/Tokyo{quote}"),
        format!("timestamp {quote}2025-10-25{quote}"),
        "/v1/stats/calls?from=2025-10-24&#38;to=2025-10-24&#38;tz=Asia%2FTokyo".to_owned(),
        "authorization: Bearer $API_KEY".to_owned(),
    ] {
        assert!(page.html.contains(&part), "{part}: {}", page.html);
    }
    // Another tenant has its own answer.
    let mut other = ConsoleBrowser::signed_in(&history.app, "nobody", ApiRole::Admin).await;
    for number in [1, 2, 15, 16] {
        let file = other.opens(&format!("/console/analytics/{number}/csv?{PERIOD}")).await;
        let rows = file.html.trim_end().lines().skip(1).collect::<Vec<_>>();
        assert!(
            rows.iter().all(|row| row.split(',').all(|it| it.is_empty() || it == "0")),
            "{rows:?}"
        );
    }
    history.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_about_a_person_needs_a_purpose_and_is_logged() {
    let mut app = TestApp::open().await;
    let mut browser = ConsoleBrowser::signed_in(&app, "contoso", ApiRole::Analyst).await;
    let page = browser.opens("/console/analytics/17").await;
    assert!(page.html.contains("Name a person and the purpose."));
    let refused = browser.gets("/console/analytics/17?person=8%3Aacs%3Ax").await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.html.contains("a purpose has 3 to 500 characters"));
    // What could end the literal is no raw id.
    let path = "/console/analytics/17?purpose=DSR+7&person=x%27%29%3B+drop+table+call%3B+--";
    let refused = browser.gets(path).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.html.contains("a raw id has letters"));
    browser.opens("/console/analytics/17?person=8%3Aacs%3Ax&purpose=DSR+7").await;
    let log = app.reads("/v1/access-log?what=person").await;
    assert_eq!(log["accesses"], json!([]), "the page has nothing about the person yet");
    browser.opens("/console/analytics/17/answer?person=8%3Aacs%3Ax&purpose=DSR+7").await;
    let log = app.reads("/v1/access-log?what=person").await;
    let accesses = log["accesses"].as_array().unwrap();
    assert_eq!(accesses.len(), 1);
    assert_eq!(accesses[0]["person"], "8:acs:x");
    assert_eq!(accesses[0]["purpose"], "DSR 7");
    for (query, why) in [
        ("from=2026-02-30", "from is a day"),
        ("from=2026-02-02&to=2026-02-01", "the last day is not before the first"),
        ("from=2020-02-02&to=2026-02-01", "366 days at most"),
        ("tz=Europe%2FBerlim", "did you mean Europe/Berlin?"),
    ] {
        let page = browser.gets(&format!("/console/analytics/1?{query}")).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{query}");
        assert!(page.html.contains(why) && page.html.contains("role=\"alert\""), "{query}");
    }
    assert_eq!(browser.gets("/console/analytics/21").await.status, StatusCode::NOT_FOUND);
    app.stop().await;
}
