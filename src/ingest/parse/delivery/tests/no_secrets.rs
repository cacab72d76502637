//! Property tests of `NO_SECRETS`: a value after a sensitive name never leaves the parser, in any valid
//! or damaged JSON; all other bytes of valid JSON are kept.

use proptest::prelude::*;

use crate::config::SourceKind;
use crate::ingest::decode::decoded_body::DecodedBody;
use crate::ingest::parse::delivery::{
    DeliveryContents, ParsedElement, RawDelivery, parse_delivery,
};
use crate::ingest::parse::delivery_source::DeliverySource;
use onrecord_json::{
    JsonIndex, RedactedJson, RedactionScope, SensitiveKeys, redact, sensitive_key_names,
};

/// A text that no other generated text contains.
const MARKER: &str = "zqMARKERqz";

/// A number that no other generated text contains.
const NUMBER: &str = "918273645";

/// A JSON text, and the expected text after redaction.
#[derive(Clone, Debug, Default)]
struct Text {
    received: String,
    kept: String,
}

impl Text {
    fn push(&mut self, both: &str) {
        self.received.push_str(both);
        self.kept.push_str(both);
    }

    fn push_sensitive(&mut self, received: &str) {
        self.received.push_str(received);
        self.kept.push_str("\"[redacted]\"");
    }
}

/// The spelling of a name.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Plain,
    UpperCase,
    Separated,
    Escaped,
}

/// The escaping of JSON in a string.
#[derive(Clone, Copy, Debug)]
enum Quoting {
    Backslashes,
    Hexadecimal,
}

#[derive(Clone, Debug)]
enum Tree {
    Leaf(String),
    Array(Vec<Tree>),
    Object(Vec<Member>),
}

#[derive(Clone, Debug)]
enum Member {
    Clean(String, Tree),
    /// A sensitive name, with a value that contains the marker.
    Sensitive(&'static str, Spelling, String),
    /// JSON with a sensitive name, in a string, in a string, …
    Quoted(&'static str, Spelling, String, Vec<Quoting>),
    /// A credential in a URL.
    Query(&'static str),
}

fn spelled(name: &str, spelling: Spelling) -> String {
    match spelling {
        Spelling::Plain => name.to_owned(),
        Spelling::UpperCase => name.to_ascii_uppercase(),
        Spelling::Separated => name.chars().flat_map(|letter| ['_', letter]).skip(1).collect(),
        Spelling::Escaped => format!("\\u{:04X}{}", u32::from(name.as_bytes()[0]), &name[1..]),
    }
}

fn quoted(json: &str, quoting: Quoting) -> String {
    let text = serde_json::to_string(json).unwrap();
    let inner = &text[1..text.len() - 1];
    match quoting {
        Quoting::Backslashes => inner.to_owned(),
        Quoting::Hexadecimal => {
            // Pairs of backslashes first, so that an escaped backslash does not escape the quotation mark.
            let doubled = inner.replace("\\\\", "\u{1}");
            doubled.replace("\\\"", "\\u0022").replace('\u{1}', "\\\\")
        }
    }
}

fn write(text: &mut Text, tree: &Tree, white_space: &str) {
    match tree {
        Tree::Leaf(json) => text.push(json),
        Tree::Array(elements) => {
            text.push("[");
            for (index, element) in elements.iter().enumerate() {
                text.push(if index > 0 { "," } else { "" });
                text.push(white_space);
                write(text, element, white_space);
            }
            text.push("]");
        }
        Tree::Object(members) => {
            text.push("{");
            for (index, member) in members.iter().enumerate() {
                text.push(if index > 0 { "," } else { "" });
                text.push(white_space);
                write_member(text, member, white_space);
            }
            text.push(white_space);
            text.push("}");
        }
    }
}

fn write_member(text: &mut Text, member: &Member, white_space: &str) {
    match member {
        Member::Clean(name, tree) => {
            text.push(&format!("\"{name}\"{white_space}:{white_space}"));
            write(text, tree, white_space);
        }
        Member::Sensitive(name, spelling, value) => {
            text.push(&format!("\"{}\"{white_space}:{white_space}", spelled(name, *spelling)));
            text.push_sensitive(value);
        }
        Member::Quoted(name, spelling, value, quotings) => {
            let name = spelled(name, *spelling);
            let mut json = format!(
                "{{{white_space}\"a\":1,{white_space}\"{name}\"{white_space}:{white_space}{value}}}"
            );
            for quoting in quotings {
                json = quoted(&json, *quoting);
                if quotings.len() > 1 {
                    json = format!("{{\"b\":\"{json}\"}}");
                }
            }
            if quotings.len() > 1 {
                json = quoted(&json, Quoting::Backslashes);
            }
            text.push("\"note\":");
            text.push_sensitive(&format!("\"{json}\""));
        }
        Member::Query(name) => {
            text.push(&format!("\"url\":\"https://h/p?x=1\\u0026{name}="));
            text.received.push_str(MARKER);
            text.kept.push_str("[redacted]");
            text.push("\\u0026y=2\"");
        }
    }
}

/// The sensitive names that a test generates.
#[derive(Clone, Debug)]
struct PlantedKeys {
    names: Vec<&'static str>,
    spellings: Vec<Spelling>,
    /// The number, of ten, that are in the query of a URL.
    queries: u32,
}

impl PlantedKeys {
    /// All names in all spellings.
    fn whole() -> Self {
        Self {
            names: sensitive_key_names(),
            spellings: vec![
                Spelling::Plain,
                Spelling::UpperCase,
                Spelling::Separated,
                Spelling::Escaped,
            ],
            queries: 2,
        }
    }

    /// The names that are sensitive in events about calls.
    fn of_calls() -> Self {
        let mut keys = Self::whole();
        keys.names.retain(|name| SensitiveKeys::Calls.contains(name.as_bytes()));
        keys
    }

    /// The same in spellings that a fault can leave intact, and without query parameters: those are
    /// recognized only by the character before them, which a fault may change.
    fn plain() -> Self {
        Self {
            queries: 0,
            spellings: vec![Spelling::Plain, Spelling::UpperCase],
            ..Self::of_calls()
        }
    }

    fn name(&self) -> impl Strategy<Value = &'static str> + use<> {
        prop::sample::select(self.names.clone())
    }

    fn spelling(&self) -> impl Strategy<Value = Spelling> + use<> {
        prop::sample::select(self.spellings.clone())
    }
}

fn value() -> impl Strategy<Value = String> {
    let around = r#"[ a-z,:{}\[\]"\\/é]{0,6}"#;
    prop_oneof![
        (around, around).prop_map(|(before, after)| {
            serde_json::to_string(&format!("{before}{MARKER}{after}")).unwrap()
        }),
        "[1-9]{0,2}".prop_map(|before| format!("{before}{NUMBER}")),
        (around, "[1-9]{1,2}").prop_map(|(before, number)| {
            let before = serde_json::to_string(&before).unwrap();
            format!("[{before} ,{number},\"{MARKER}\"]")
        }),
        (around, "[1-9]{1,2}").prop_map(|(before, number)| {
            let before = serde_json::to_string(&before).unwrap();
            format!("{{\"c\":{before},\"d\":{number} ,\"e\":[{{\"f\":\"{MARKER}\"}}]}}")
        }),
    ]
}

fn quotings() -> impl Strategy<Value = Vec<Quoting>> {
    let quoting = prop_oneof![Just(Quoting::Backslashes), Just(Quoting::Hexadecimal)];
    prop::collection::vec(quoting, 1..4)
}

fn member(keys: &PlantedKeys) -> impl Strategy<Value = Member> + use<> {
    let spelled = || (keys.name(), keys.spelling(), value());
    prop_oneof![
        4 => spelled()
            .prop_map(|(name, spelling, value)| Member::Sensitive(name, spelling, value)),
        4 => (spelled(), quotings()).prop_map(|((name, spelling, value), quotings)| {
            Member::Quoted(name, spelling, value, quotings)
        }),
        keys.queries => keys.name().prop_map(Member::Query),
    ]
}

/// A tree without sensitive names.
fn clean() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![
        prop::sample::select(vec!["null", "true", "1.50", "-0", "1e999", "\"\\ud800\""])
            .prop_map(|json| Tree::Leaf(json.to_owned())),
        r#"[ a-z0-9,:{}\[\]"\\/é=&?%]{0,8}"#
            .prop_map(|text| Tree::Leaf(serde_json::to_string(&text).unwrap())),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let named =
            ("k[0-9]{1,2}", inner.clone()).prop_map(|(name, tree)| Member::Clean(name, tree));
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(Tree::Array),
            prop::collection::vec(named, 0..4).prop_map(Tree::Object),
        ]
    })
}

/// An object with one or more sensitive names at any depth.
fn planted(keys: &PlantedKeys) -> impl Strategy<Value = Tree> + use<> {
    let named = ("k[0-9]{1,2}", clean()).prop_map(|(name, tree)| Member::Clean(name, tree));
    let members = prop_oneof![2 => named, 1 => member(keys)];
    (prop::collection::vec(members, 0..5), member(keys), any::<prop::sample::Index>(), 0..3_usize)
        .prop_map(|(mut members, sensitive, at, depth)| {
            members.insert(at.index(members.len() + 1), sensitive);
            let mut tree = Tree::Object(members);
            for level in 0..depth {
                tree = if level % 2 == 0 {
                    Tree::Array(vec![Tree::Leaf("1".to_owned()), tree])
                } else {
                    Tree::Object(vec![Member::Clean("k0".to_owned(), tree)])
                };
            }
            tree
        })
}

/// The tree as (part of) an event about calls, an event about something else, or no event.
fn delivered(keys: &PlantedKeys) -> impl Strategy<Value = Text> + use<> {
    let start = prop::sample::select(vec![
        r#"{"id":"i","eventType":"Microsoft.Communication.CallStarted","topic":"/t","data":"#,
        r#"{"id":"i","type":"Microsoft.Communication.RecognizeCompleted","source":"s","data":{"x":"#,
        r#"[{"type":"Microsoft.Communication.SMSReceived","source":"s","data":"#,
        r#"[{"eventType":"Contoso.Unknown","x":"#,
        r#"{"nothing":"#,
        r#"[3,{"type":"Microsoft.Communication.CallEnded","source":"s","x":"#,
    ]);
    let white_space = prop::sample::select(vec!["", " ", "\n  ", "\t\r\n"]);
    (start, planted(keys), white_space).prop_map(|(start, tree, white_space)| {
        let mut text = Text::default();
        text.push(start);
        write(&mut text, &tree, white_space);
        for open in start.chars().rev() {
            match open {
                '{' => text.push("}"),
                '[' => text.push("]"),
                _ => {}
            }
        }
        text
    })
}

fn redacted(text: &str) -> RedactedJson {
    let index = JsonIndex::parse(text).unwrap();
    redact(&index, RedactionScope::Unknown).ok().unwrap()
}

fn posted(kind: SourceKind, body: &[u8]) -> DeliveryContents {
    let source = DeliverySource { kind, name: "contoso-calls", resource_ids: &[], seal_to: None };
    let delivery =
        RawDelivery { content_type: None, headers: &[], body: DecodedBody::uncoded(body) };
    parse_delivery(&source, &delivery)
}

/// All that the parser returns, as text.
fn outcome(kind: SourceKind, body: &[u8]) -> String {
    let contents = posted(kind, body);
    let mut text = format!("{contents:?}");
    if let DeliveryContents::Events(events) = contents {
        for event in events {
            match event {
                ParsedElement::Event(normalized) => {
                    text.push_str(&normalized.original);
                    text.push_str(&serde_json::to_string(&normalized.event).unwrap());
                }
                ParsedElement::Quarantined(quarantined) => {
                    text.push_str(&quarantined.reason.to_string());
                    text.push_str(&quarantined.content.unwrap_or_default());
                }
            }
        }
    }
    text
}

fn leaks(body: &[u8]) -> Option<String> {
    [SourceKind::EventGrid, SourceKind::CallAutomation]
        .into_iter()
        .map(|kind| outcome(kind, body))
        .find(|text| text.contains(MARKER) || text.contains(NUMBER))
}

/// The bytes of a text that a fault may change: not those of the marker or of a sensitive name.
fn damageable(text: &str) -> Vec<usize> {
    let mut spared = vec![false; text.len()];
    let lower = text.to_ascii_lowercase();
    let names = sensitive_key_names();
    let words = names.iter().copied().chain([MARKER, NUMBER]).map(str::to_ascii_lowercase);
    for word in words {
        for (start, _) in lower.match_indices(&word) {
            spared[start..start + word.len()].fill(true);
        }
    }
    (0..text.len()).filter(|at| !spared[*at] && text.as_bytes()[*at].is_ascii()).collect()
}

#[test]
fn nothing_is_readable_of_an_element_after_a_broken_one() {
    // A quotation mark was replaced by `#`, which inverts what is inside strings: the brackets in a
    // string seem to separate two events.
    let body = format!(
        r#"[{{"type":"Contoso.Unknown#,"source":"s","data":{{"tones":{{"c":":],{{","d":1 ,"e":[{{"f":"{MARKER}"}}]}},"note":"{{\"b\":\"{{\\\"b\\\":\\\"{{\\\\\\\"a\\\\\\\":1,\\\\\\\"pin\\\\\\\":[\\\\\\\"[,a/:\\\\\\\" ,11]}}\\\"}}\"}}"}}}}]"#
    );
    let DeliveryContents::Events(events) = posted(SourceKind::EventGrid, body.as_bytes()) else {
        panic!("a handshake");
    };
    assert_eq!(events.len(), 2);
    assert_eq!(leaks(body.as_bytes()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn no_sensitive_value_of_valid_json_is_kept(text in delivered(&PlantedKeys::of_calls())) {
        prop_assert!(JsonIndex::parse(&text.received).is_ok(), "{}", text.received);
        prop_assert_eq!(leaks(text.received.as_bytes()), None, "{}", text.received);
    }

    #[test]
    fn redaction_changes_only_sensitive_values(tree in planted(&PlantedKeys::whole()), white_space in prop::sample::select(vec!["", " ", "\n"])) {
        let mut text = Text::default();
        write(&mut text, &tree, white_space);
        let redacted = redacted(&text.received);
        prop_assert_eq!(&redacted.text, &text.kept);
        prop_assert!(!redacted.pointers.is_empty());
        let twice = self::redacted(&redacted.text);
        prop_assert_eq!(twice.text, redacted.text);
    }

    #[test]
    fn json_without_sensitive_names_is_unchanged(tree in clean(), white_space in prop::sample::select(vec!["", " ", "\n"])) {
        let mut text = Text::default();
        write(&mut text, &tree, white_space);
        prop_assert_eq!(redacted(&text.received).text, text.received);
    }

    #[test]
    fn no_sensitive_value_of_a_truncated_body_is_kept(text in delivered(&PlantedKeys::whole()), at in any::<prop::sample::Index>()) {
        let mut end = at.index(text.received.len());
        while !text.received.is_char_boundary(end) {
            end -= 1;
        }
        let body = &text.received[..end];
        prop_assert_eq!(leaks(body.as_bytes()), None, "{}", body);
    }

    #[test]
    fn no_sensitive_value_of_a_damaged_body_is_kept(
        text in delivered(&PlantedKeys::plain()),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![4 => 0x20..0x7f_u8, 3 => prop::sample::select(b"\"\\{}[]:, u%=\n\0".to_vec()), 1 => any::<u8>()],
    ) {
        let places = damageable(&text.received);
        let mut body = text.received.into_bytes();
        body[places[at.index(places.len())]] = byte;
        prop_assert_eq!(leaks(&body), None, "{}", String::from_utf8_lossy(&body));
    }
}
