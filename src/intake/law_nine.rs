//! Law 9 as a property: what is planted behind a forbidden name comes out nowhere, in whatever
//! JSON it stands, and in whatever damaged form of it; everything else of valid JSON stays byte for
//! byte.

use proptest::prelude::*;

use crate::config::SourceKind;
use crate::intake::delivery::{Contents, Delivery, Door, Taken, take_apart};
use crate::intake::forbidden::{Vocabulary, every_name};
use crate::intake::json::Document;
use crate::intake::redact::{Redacted, Scope, redact};

/// Found in nothing that is generated beside it.
const MARKER: &str = "zqMARKERqz";

/// The same as a number.
const NUMBER: &str = "918273645";

/// A JSON text that is being written, and what redaction has to make of it.
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

    fn push_forbidden(&mut self, received: &str) {
        self.received.push_str(received);
        self.kept.push_str("\"[redacted]\"");
    }
}

/// How a name is written.
#[derive(Clone, Copy, Debug)]
enum Spelling {
    Plain,
    UpperCase,
    Separated,
    Escaped,
}

/// How JSON is written into a string.
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
    /// A forbidden name, with a value that holds the marker.
    Forbidden(&'static str, Spelling, String),
    /// JSON with a forbidden name, in a string, in a string, …
    Quoted(&'static str, Spelling, String, Vec<Quoting>),
    /// A credential in a URL.
    Query(&'static str),
}

fn spelled(name: &str, spelling: Spelling) -> String {
    match spelling {
        Spelling::Plain => name.to_owned(),
        Spelling::UpperCase => name.to_ascii_uppercase(),
        Spelling::Separated => name
            .chars()
            .flat_map(|letter| ['_', letter])
            .skip(1)
            .collect(),
        Spelling::Escaped => format!("\\u{:04X}{}", u32::from(name.as_bytes()[0]), &name[1..]),
    }
}

fn quoted(json: &str, quoting: Quoting) -> String {
    let text = serde_json::to_string(json).unwrap();
    let inner = &text[1..text.len() - 1];
    match quoting {
        Quoting::Backslashes => inner.to_owned(),
        Quoting::Hexadecimal => {
            // Pairs of backslashes first, so that an escaped one does not escape the mark.
            let doubled = inner.replace("\\\\", "\u{1}");
            doubled.replace("\\\"", "\\u0022").replace('\u{1}', "\\\\")
        }
    }
}

fn write(text: &mut Text, tree: &Tree, blank: &str) {
    match tree {
        Tree::Leaf(json) => text.push(json),
        Tree::Array(elements) => {
            text.push("[");
            for (index, element) in elements.iter().enumerate() {
                text.push(if index > 0 { "," } else { "" });
                text.push(blank);
                write(text, element, blank);
            }
            text.push("]");
        }
        Tree::Object(members) => {
            text.push("{");
            for (index, member) in members.iter().enumerate() {
                text.push(if index > 0 { "," } else { "" });
                text.push(blank);
                write_member(text, member, blank);
            }
            text.push(blank);
            text.push("}");
        }
    }
}

fn write_member(text: &mut Text, member: &Member, blank: &str) {
    match member {
        Member::Clean(name, tree) => {
            text.push(&format!("\"{name}\"{blank}:{blank}"));
            write(text, tree, blank);
        }
        Member::Forbidden(name, spelling, value) => {
            text.push(&format!("\"{}\"{blank}:{blank}", spelled(name, *spelling)));
            text.push_forbidden(value);
        }
        Member::Quoted(name, spelling, value, quotings) => {
            let name = spelled(name, *spelling);
            let mut json = format!("{{{blank}\"a\":1,{blank}\"{name}\"{blank}:{blank}{value}}}");
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
            text.push_forbidden(&format!("\"{json}\""));
        }
        Member::Query(name) => {
            text.push(&format!("\"url\":\"https://h/p?x=1\\u0026{name}="));
            text.received.push_str(MARKER);
            text.kept.push_str("[redacted]");
            text.push("\\u0026y=2\"");
        }
    }
}

/// What a test plants.
#[derive(Clone, Debug)]
struct Garden {
    names: Vec<&'static str>,
    spellings: Vec<Spelling>,
    /// How many of ten stand in the query of a URL.
    queries: u32,
}

impl Garden {
    /// Every name, in every spelling.
    fn whole() -> Self {
        Self {
            names: every_name(),
            spellings: vec![
                Spelling::Plain,
                Spelling::UpperCase,
                Spelling::Separated,
                Spelling::Escaped,
            ],
            queries: 2,
        }
    }

    /// The names that are forbidden in events about calls.
    fn of_calls() -> Self {
        let mut garden = Self::whole();
        garden.names.retain(|name| Vocabulary::Calls.forbids(name));
        garden
    }

    /// The same, spelled so that a fault can spare them, and where a fault does not undo what
    /// makes them names: a query's parameter is one by the sign before it only.
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
        (around, around).prop_map(|(before, behind)| {
            serde_json::to_string(&format!("{before}{MARKER}{behind}")).unwrap()
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

fn member(garden: &Garden) -> impl Strategy<Value = Member> + use<> {
    let spelled = || (garden.name(), garden.spelling(), value());
    prop_oneof![
        4 => spelled()
            .prop_map(|(name, spelling, value)| Member::Forbidden(name, spelling, value)),
        4 => (spelled(), quotings()).prop_map(|((name, spelling, value), quotings)| {
            Member::Quoted(name, spelling, value, quotings)
        }),
        garden.queries => garden.name().prop_map(Member::Query),
    ]
}

/// A tree without anything that is forbidden.
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

/// An object with something forbidden in it, at any depth, perhaps twice.
fn planted(garden: &Garden) -> impl Strategy<Value = Tree> + use<> {
    let named = ("k[0-9]{1,2}", clean()).prop_map(|(name, tree)| Member::Clean(name, tree));
    let members = prop_oneof![2 => named, 1 => member(garden)];
    (
        prop::collection::vec(members, 0..5),
        member(garden),
        any::<prop::sample::Index>(),
        0..3_usize,
    )
        .prop_map(|(mut members, forbidden, at, depth)| {
            members.insert(at.index(members.len() + 1), forbidden);
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

/// The tree as (part of) an event of Event Grid or Call Automation, of another family, or of none.
fn delivered(garden: &Garden) -> impl Strategy<Value = Text> + use<> {
    let start = prop::sample::select(vec![
        r#"{"id":"i","eventType":"Microsoft.Communication.CallStarted","topic":"/t","data":"#,
        r#"{"id":"i","type":"Microsoft.Communication.RecognizeCompleted","source":"s","data":{"x":"#,
        r#"[{"type":"Microsoft.Communication.SMSReceived","source":"s","data":"#,
        r#"[{"eventType":"Contoso.Unheard","x":"#,
        r#"{"nothing":"#,
        r#"[3,{"type":"Microsoft.Communication.CallEnded","source":"s","x":"#,
    ]);
    let blank = prop::sample::select(vec!["", " ", "\n  ", "\t\r\n"]);
    (start, planted(garden), blank).prop_map(|(start, tree, blank)| {
        let mut text = Text::default();
        text.push(start);
        write(&mut text, &tree, blank);
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

fn redacted(text: &str) -> Redacted {
    let document = Document::parse(text).unwrap();
    redact(&document, Scope::Untold).ok().unwrap()
}

fn posted(kind: SourceKind, body: &[u8]) -> Contents {
    let door = Door {
        kind,
        source: "contoso-calls",
        resource_ids: &[],
    };
    let delivery = Delivery {
        content_type: None,
        headers: &[],
        body,
    };
    take_apart(&door, &delivery)
}

/// Everything that leaves the door, as text.
fn outcome(kind: SourceKind, body: &[u8]) -> String {
    let contents = posted(kind, body);
    let mut text = format!("{contents:?}");
    if let Contents::Events(events) = contents {
        for event in events {
            match event {
                Taken::Event(normalized) => {
                    text.push_str(&normalized.original);
                    text.push_str(&serde_json::to_string(&normalized.event).unwrap());
                }
                Taken::Unreadable(unreadable) => {
                    text.push_str(&unreadable.reason.to_string());
                    text.push_str(&unreadable.content.unwrap_or_default());
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

/// The bytes of a text that a fault may hit: none of the marker, and none of a forbidden name, as
/// without its name nothing is forbidden.
fn damageable(text: &str) -> Vec<usize> {
    let mut spared = vec![false; text.len()];
    let lower = text.to_ascii_lowercase();
    let names = every_name();
    let words = names
        .iter()
        .copied()
        .chain([MARKER, NUMBER])
        .map(str::to_ascii_lowercase);
    for word in words {
        for (start, _) in lower.match_indices(&word) {
            spared[start..start + word.len()].fill(true);
        }
    }
    (0..text.len())
        .filter(|at| !spared[*at] && text.as_bytes()[*at].is_ascii())
        .collect()
}

#[test]
fn what_a_broken_element_leaves_open_may_go_on_in_the_next_broken_one() {
    // The first quotation mark that became `#` turns strings inside out, so that the brackets in
    // a string seem to part two events.
    let body = format!(
        r#"[{{"type":"Contoso.Unheard#,"source":"s","data":{{"tones":{{"c":":],{{","d":1 ,"e":[{{"f":"{MARKER}"}}]}},"note":"{{\"b\":\"{{\\\"b\\\":\\\"{{\\\\\\\"a\\\\\\\":1,\\\\\\\"pin\\\\\\\":[\\\\\\\"[,a/:\\\\\\\" ,11]}}\\\"}}\"}}"}}}}]"#
    );
    let Contents::Events(events) = posted(SourceKind::EventGrid, body.as_bytes()) else {
        panic!("a handshake");
    };
    assert_eq!(events.len(), 2);
    assert_eq!(leaks(body.as_bytes()), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn what_is_forbidden_comes_out_of_no_valid_json(text in delivered(&Garden::of_calls())) {
        prop_assert!(Document::parse(&text.received).is_ok(), "{}", text.received);
        prop_assert_eq!(leaks(text.received.as_bytes()), None, "{}", text.received);
    }

    #[test]
    fn redaction_changes_nothing_but_what_is_forbidden(tree in planted(&Garden::whole()), blank in prop::sample::select(vec!["", " ", "\n"])) {
        let mut text = Text::default();
        write(&mut text, &tree, blank);
        let redacted = redacted(&text.received);
        prop_assert_eq!(&redacted.text, &text.kept);
        prop_assert!(!redacted.pointers.is_empty());
        let twice = self::redacted(&redacted.text);
        prop_assert_eq!(twice.text, redacted.text);
    }

    #[test]
    fn what_is_clean_stays_byte_for_byte(tree in clean(), blank in prop::sample::select(vec!["", " ", "\n"])) {
        let mut text = Text::default();
        write(&mut text, &tree, blank);
        prop_assert_eq!(redacted(&text.received).text, text.received);
    }

    #[test]
    fn what_is_forbidden_comes_out_of_no_truncated_body(text in delivered(&Garden::whole()), at in any::<prop::sample::Index>()) {
        let mut end = at.index(text.received.len());
        while !text.received.is_char_boundary(end) {
            end -= 1;
        }
        let body = &text.received[..end];
        prop_assert_eq!(leaks(body.as_bytes()), None, "{}", body);
    }

    #[test]
    fn what_is_forbidden_comes_out_of_no_body_with_a_fault(
        text in delivered(&Garden::plain()),
        at in any::<prop::sample::Index>(),
        byte in prop_oneof![4 => 0x20..0x7f_u8, 3 => prop::sample::select(b"\"\\{}[]:, u%=\n\0".to_vec()), 1 => any::<u8>()],
    ) {
        let places = damageable(&text.received);
        let mut body = text.received.into_bytes();
        body[places[at.index(places.len())]] = byte;
        prop_assert_eq!(leaks(&body), None, "{}", String::from_utf8_lossy(&body));
    }
}
