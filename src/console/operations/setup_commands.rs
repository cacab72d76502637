//! The commands of the set-up of a source, filled in. They stand in `docs/azure.md`.
//!
//! # Why
//!
//! The page is reached by an address, and its commands are copied into a shell. So a value has only signs that
//! no shell and no PowerShell gives a meaning to, from wherever the address comes.

use std::sync::LazyLock;

use crate::config::{Source, SourceKind};
use crate::console::calls::typed_filter::TypedFilter;
use crate::http::problem::Problem;

/// The document with the commands.
const DOCUMENT: &str = include_str!("../../../docs/azure.md");
/// Maximum length of a value, in characters.
const MAX_VALUE: usize = 300;

/// The blocks of the document: the section that begins with the heading, and the block's place in it.
static BLOCKS: LazyLock<DocumentedBlocks> = LazyLock::new(|| DocumentedBlocks {
    resource: block("\n## Set up\n"),
    event_grid: block("\n### Event Grid\n"),
    call_automation: block("\n### Call Automation\n"),
    federation: block("\n### Teams federation\n"),
});

/// The commands of the document, with its example values.
struct DocumentedBlocks {
    resource: &'static str,
    event_grid: &'static str,
    call_automation: &'static str,
    federation: &'static str,
}

/// The first block of code below a heading.
fn block(heading: &str) -> &'static str {
    let section = DOCUMENT.split_once(heading).map_or("", |(_, section)| section);
    let block = section.split_once("```").and_then(|(_, rest)| rest.split_once('\n'));
    block.and_then(|(_, rest)| rest.split_once("```")).map_or("", |(block, _)| block.trim_end())
}

/// What is filled in. An absent value leaves the example of the document.
#[derive(Clone, Debug)]
pub(super) struct SetupValues {
    tenant: String,
    source: Option<String>,
    kind: SourceKind,
    origin: Option<String>,
    name: Option<String>,
    group: Option<String>,
    /// The immutable id of the ACS resource.
    resource: Option<String>,
    /// The id of the storage account for what cannot be delivered.
    storage: Option<String>,
}

/// A command with its key in the texts.
#[derive(Debug)]
pub(super) struct FilledCommand {
    pub key: &'static str,
    pub text: String,
}

impl SetupValues {
    pub(super) fn unfilled(tenant: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            source: None,
            kind: SourceKind::EventGrid,
            origin: None,
            name: None,
            group: None,
            resource: None,
            storage: None,
        }
    }

    /// The values of an address.
    ///
    /// # Errors
    ///
    /// A problem that names the value with a sign that it cannot have.
    pub(super) fn parse(typed: &TypedFilter, origin: &str, tenant: &str) -> Result<Self, Problem> {
        let value = |name: &str| checked(name, typed.first(name));
        let origin = checked("origin", origin)?;
        if let Some(origin) = &origin
            && !(origin.starts_with("https://") || origin.starts_with("http://"))
        {
            return Err(Problem::invalid("origin", "the address begins with https://"));
        }
        // The name is read by the page; here it is only checked.
        value("source")?;
        Ok(Self {
            origin: origin.map(|origin| origin.trim_end_matches('/').to_owned()),
            name: value("name")?,
            group: value("group")?,
            resource: value("resource")?,
            storage: value("storage")?,
            ..Self::unfilled(tenant)
        })
    }

    /// The values for a source: its kind and its ACS resource, if they are configured.
    pub(super) fn for_source(self, name: &str, source: Option<&Source>) -> Self {
        let resource = source.and_then(|source| source.resource_ids.first());
        let resource = resource.filter(|id| checked("resource", id).is_ok());
        Self {
            source: Some(name.to_owned()).filter(|name| !name.is_empty()),
            kind: source.map_or(SourceKind::EventGrid, |source| source.kind),
            resource: self.resource.or_else(|| resource.cloned()),
            ..self
        }
    }

    fn filled(&self, block: &str) -> String {
        let mut text = block.to_owned();
        for (example, value) in [
            ("https://onrecord.contoso.com", &self.origin),
            ("contoso-callbacks", &self.source),
            ("contoso-calls", &self.source),
            ("--name NAME", &self.name.as_ref().map(|name| format!("--name {name}"))),
            (
                "--resource-group GROUP",
                &self.group.as_ref().map(|it| format!("--resource-group {it}")),
            ),
            ("<immutable resource id>", &self.resource),
            ("$STORAGE_ID", &self.storage),
        ] {
            if let Some(value) = value {
                text = text.replace(example, value);
            }
        }
        text
    }

    /// The table of the settings.
    fn settings(&self) -> String {
        let kind = match self.kind {
            SourceKind::EventGrid => "event-grid",
            SourceKind::CallAutomation => "call-automation",
        };
        let source = self.source.as_deref().unwrap_or("contoso-calls");
        let resource = self.resource.as_deref().unwrap_or("<immutable resource id>");
        format!(
            "[sources.{source}]\nkind = \"{kind}\"\ntenant = \"{}\"\nkeys = [\"sha256:…\"]\nresource_ids = [\"{resource}\"]",
            self.tenant
        )
    }
}

/// A value without signs that a shell gives a meaning to; `None` for an empty one.
fn checked(name: &str, text: &str) -> Result<Option<String>, Problem> {
    if text.is_empty() {
        return Ok(None);
    }
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._/:[]".contains(c);
    // What begins with a hyphen is an option of a command.
    if text.chars().count() > MAX_VALUE || text.starts_with('-') || !text.chars().all(is_plain) {
        let detail = format!(
            "{name} has letters, digits and the signs - . _ / : only, because commands are made of it"
        );
        return Err(Problem::invalid(name, detail));
    }
    Ok(Some(text.to_owned()))
}

/// The commands, in the order in which they are run.
pub(super) fn commands(values: &SetupValues) -> Vec<FilledCommand> {
    let filled = |key, block| FilledCommand { key, text: values.filled(block) };
    let mut commands = vec![
        filled("resource", BLOCKS.resource),
        FilledCommand { key: "key", text: "onrecord key source".to_owned() },
        FilledCommand { key: "settings", text: values.settings() },
    ];
    commands.push(match values.kind {
        SourceKind::EventGrid => filled("event_grid", BLOCKS.event_grid),
        SourceKind::CallAutomation => filled("call_automation", BLOCKS.call_automation),
    });
    commands.push(filled("federation", BLOCKS.federation));
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(query: &str) -> Result<SetupValues, Problem> {
        let typed = TypedFilter::of(Some(query)).unwrap();
        SetupValues::parse(&typed, "https://record.fabrikam.com/", "fabrikam")
    }

    #[test]
    fn the_commands_of_the_document_are_filled_in() {
        let values =
            values("name=acs-1&group=calls&resource=4dad2986-ce83&storage=/subscriptions/1")
                .unwrap();
        let filled = commands(&values.for_source("fabrikam-calls", None));
        let text = |key| &filled.iter().find(|it| it.key == key).unwrap().text;
        for (key, parts) in [
            ("resource", &["az communication show --name acs-1 --resource-group calls"][..]),
            (
                "settings",
                &["[sources.fabrikam-calls]", "tenant = \"fabrikam\"", "\"4dad2986-ce83\""],
            ),
            (
                "event_grid",
                &[
                    "az eventgrid event-subscription create",
                    "--endpoint https://record.fabrikam.com/ingest/event-grid/fabrikam-calls ",
                    "x-onrecord-key static \"$SOURCE_KEY\" true",
                    "\"/subscriptions/1/blobServices",
                ],
            ),
            (
                "federation",
                &[
                    "Set-CsTeamsAcsFederationConfiguration -EnableAcsUsers $true -AllowedAcsResources \"4dad2986-ce83\"",
                    "Set-CsExternalAccessPolicy -Identity Global -EnableAcsFederationAccess $true",
                ],
            ),
        ] {
            for part in parts {
                assert!(text(key).contains(part), "{key}: {}", text(key));
            }
        }
        assert!(BLOCKS.call_automation.contains("callbackUri"), "{}", BLOCKS.call_automation);
    }

    #[test]
    fn what_is_not_given_stays_as_in_the_document() {
        let filled = commands(&SetupValues::unfilled("contoso"));
        assert!(filled[0].text.contains("--name NAME"));
        assert!(filled[3].text.contains("contoso-calls"));
    }

    #[test]
    fn a_value_that_a_shell_would_run_is_refused() {
        for query in [
            "name=a%3Breboot",
            "name=%24(reboot)",
            "group=a%20b",
            "resource=%22x",
            "storage=a%60b",
            "source=a%27b",
            "name=a%0Ab",
            "name=-rf",
            "group=a%7Cb",
            "group=%26",
        ] {
            assert_eq!(
                values(query).unwrap_err().kind(),
                crate::http::problem::ProblemKind::InvalidRequest,
                "{query}"
            );
        }
        let typed = TypedFilter::of(None).unwrap();
        assert!(SetupValues::parse(&typed, "javascript:x", "contoso").is_err());
    }
}
