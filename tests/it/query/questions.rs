//! The questions of `docs/sql.md` that the API has an answer to: it is the one that no SQL computed.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::call_filters::HistoryApp;

/// The period of the questions.
const PERIOD: &str = "from=2025-10-24&to=2025-10-27&tz=Europe/Berlin";

/// The known answer to a question, line by line.
fn answer(number: u32) -> Vec<Vec<String>> {
    let path = format!("tests/data/sql/answers/{number:02}.csv");
    let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let cells = |line: &str| line.split(',').map(str::to_owned).collect();
    text.lines().map(cells).collect()
}

fn number(cell: &str) -> i64 {
    cell.parse().unwrap()
}

/// The sum of a column, by the values of another one.
fn sums(answer: &[Vec<String>], by: usize, of: usize) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for line in answer {
        *sums.entry(line[by].clone()).or_default() += number(&line[of]);
    }
    sums
}

/// The members of an object that are not 0.
fn counts(object: &Value) -> BTreeMap<String, i64> {
    let members = object.as_object().unwrap().iter();
    let counts = members.map(|(name, count)| (name.clone(), count.as_i64().unwrap()));
    counts.filter(|(_, count)| *count > 0).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_answers_its_questions_as_sql_does() {
    let history = HistoryApp::open().await;

    let calls = history.reads(&format!("/v1/stats/calls?{PERIOD}")).await;
    let days: Vec<Vec<String>> = calls["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|day| {
            vec![day["local_from"].as_str().unwrap()[..10].to_owned(), day["calls"].to_string()]
        })
        .collect();
    assert_eq!(days, answer(1), "1. How many calls a day?");

    let total = &calls["total"];
    let by_verdict = answer(13);
    assert_eq!(counts(&total["verdicts"]), sums(&by_verdict, 0, 2), "13. Which verdicts?");
    assert_eq!(counts(&total["consents"]), sums(&by_verdict, 1, 2), "13. Which consent?");
    for line in &by_verdict {
        let query =
            format!("/v1/calls?{PERIOD}&verdict={}&consent={}&limit=1000", line[0], line[1]);
        let page = history.reads(&query).await;
        assert_eq!(
            page["calls"].as_array().unwrap().len() as i64,
            number(&line[2]),
            "13. {line:?}"
        );
    }

    let [lengths] = answer(14).try_into().unwrap();
    assert_eq!(total["calls"], number(&lengths[0]), "14. How long are calls?");
    assert_eq!(total["open"], number(&lengths[1]), "14. How many go on?");
    assert_eq!(total["end_presumed"], number(&lengths[2]), "14. How many ends are presumed?");

    let notices = history.reads(&format!("/v1/stats/notices?{PERIOD}&type=recording")).await;
    let [share] = answer(2).try_into().unwrap();
    let total = &notices["total"];
    assert_eq!(total["obligations"], number(&share[0]), "2. Which share was told within 2 s?");
    assert_eq!(total["told_in_time"], number(&share[1]), "2. Which share was told within 2 s?");
    let percent = total["share_told_in_time"].as_f64().unwrap() * 100.0;
    assert_eq!(format!("{percent:.1}"), share[2], "2. Which share was told within 2 s?");

    for (capture_type, never_told) in sums(&answer(6), 1, 2) {
        let notices =
            history.reads(&format!("/v1/stats/notices?{PERIOD}&type={capture_type}")).await;
        assert_eq!(notices["total"]["never_told"], never_told, "6. Who was never told?");
    }

    // The bounds of the histograms are those of the roll-up.
    for (day, line) in notices["intervals"].as_array().unwrap().iter().zip(answer(18)) {
        assert_eq!(day["obligations"], number(&line[1]), "18. {line:?}");
        assert_eq!(day["shown"]["count"], number(&line[1]), "18. {line:?}");
        assert_eq!(day["shown"]["p50_ms"], number(&line[2]), "18. {line:?}");
    }

    let captures =
        history.reads(&format!("/v1/stats/captures?{PERIOD}&type=recording&by=hour")).await;
    let mut by_hour: Vec<Vec<String>> = Vec::new();
    for hour in captures["intervals"].as_array().unwrap() {
        let from = hour["from"].as_str().unwrap().replace('T', " ");
        for (kind, count) in counts(&hour["kinds"]) {
            by_hour.push(vec![format!("{}+00", &from[..19]), kind, count.to_string()]);
        }
    }
    let mut expected = answer(7);
    expected.sort();
    by_hour.sort();
    assert_eq!(by_hour, expected, "7. How many recordings start an hour, by kind?");

    let mut open: Vec<(String, String)> = Vec::new();
    let page =
        history.reads(&format!("/v1/calls?{PERIOD}&state=open&sort=started_at&limit=1000")).await;
    for call in page["calls"].as_array().unwrap() {
        let id = call["call"].as_str().unwrap().to_owned();
        open.push((id, call["open_captures"].to_string()));
    }
    let expected: Vec<(String, String)> =
        answer(15).into_iter().map(|line| (line[0].clone(), line[1].clone())).collect();
    assert_eq!(open, expected, "15. Which calls go on, and which of them are captured now?");

    // The question leaves out those of no call, and the statistics have them.
    for line in answer(10) {
        let mut found = Vec::new();
        for state in ["open", "closed"] {
            let query =
                format!("/v1/exceptions?{PERIOD}&kind={}&state={state}&limit=1000", line[0]);
            let page = history.reads(&query).await;
            let of_calls = page["exceptions"].as_array().unwrap().iter();
            found.push(of_calls.filter(|one| !one["call"].is_null()).count() as i64);
        }
        assert_eq!(found[0] + found[1], number(&line[1]), "10. {line:?}");
        assert_eq!(found[0], number(&line[2]), "10. {line:?}");
    }

    let raw_id = "8:acs:4dad2986-ce83-4960-aa06-e9ab85a0bcc1_00000000".replace(':', "%3A");
    let person =
        history.reads(&format!("/v1/participants/{raw_id}?purpose=a%20question&limit=1000")).await;
    let mut sessions: BTreeMap<String, usize> = BTreeMap::new();
    for call in person["calls"].as_array().unwrap() {
        let of_person = call["of_person"]["sessions"].as_array().unwrap();
        // The question asks for calls that the person has left.
        if of_person.iter().all(|session| session["left_at"].is_string()) {
            sessions.insert(call["call"].as_str().unwrap().to_owned(), of_person.len());
        }
    }
    let known = answer(17);
    assert!(known.len() > 10);
    for line in &known {
        assert_eq!(sessions.get(&line[0]), Some(&line[1].parse().unwrap()), "17. {line:?}");
    }
    history.app.stop().await;
}
