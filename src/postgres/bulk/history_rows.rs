//! The rows of calls, table by table, as `copy` reads them.

use chrono::{DateTime, NaiveDate, Utc};
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::fact::kinds::JsonWord as _;
use onrecord_evidence::identity::alias_graph::{AliasLink, Anchor};
use serde_json::Value;

use super::copy_text::CopyText;
use crate::postgres::{
    CallRowSet, CallTermColumns, ClosingKey, ExceptionStep, NewEntry, NewFact, NewNoticeFact,
    StoreError, VerdictRow,
};
use onrecord_evidence::event::ids::Digest;

/// A table, with the columns that its rows have here. The others have their defaults: `xid` the transaction.
pub(crate) struct CopiedTable {
    pub name: &'static str,
    pub columns: &'static str,
}

/// What an id resolves to.
#[derive(Debug)]
pub(crate) struct ResolvedAlias {
    pub anchor: Anchor,
    pub call: Anchor,
    pub is_ambiguous: bool,
}

/// Who closes an exception, when and why.
#[derive(Clone, Debug)]
pub(crate) struct ExceptionClosing {
    pub key: ClosingKey,
    pub at: DateTime<Utc>,
    pub reason: &'static str,
}

/// An exception that a call opens.
#[derive(Debug)]
pub(crate) struct OpenedException {
    pub step: ExceptionStep,
    pub closing: Option<ExceptionClosing>,
}

/// The rows of any number of calls of one tenant.
#[derive(Debug, Default)]
pub(crate) struct HistoryRows {
    tenant: String,
    event_keys: CopyText,
    entries: CopyText,
    facts: CopyText,
    links: CopyText,
    aliases: CopyText,
    notice_facts: CopyText,
    calls: CopyText,
    sessions: CopyText,
    captures: CopyText,
    /// Without the snapshot, which the transaction adds as the last column.
    verdicts: Vec<CopyText>,
    obligations: CopyText,
    exceptions: CopyText,
    exception_history: CopyText,
    pub(crate) terms: CallTermColumns,
    pub(crate) entry_count: u64,
}

impl HistoryRows {
    pub(crate) fn new(tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..Self::default() }
    }

    pub(crate) fn tenant(&self) -> &str {
        &self.tenant
    }

    /// Every table but that of verdicts, with its lines.
    pub(crate) fn tables(&self) -> [(CopiedTable, &CopyText); 12] {
        let table = |name, columns| CopiedTable { name, columns };
        [
            (table("event_key", "key, content_digest, entered_on"), &self.event_keys),
            (
                table(
                    "entry",
                    "id, tenant, received_at, anchor, type, source_type, provenance, source, ce_source, ce_id, ce_time, at_ms, key, sha256, original, content_coding, charset, event, flags",
                ),
                &self.entries,
            ),
            (
                table(
                    "fact",
                    "tenant, anchor, key, content_digest, kind, at_ms, event, received_ms",
                ),
                &self.facts,
            ),
            (table("alias_link", "tenant, lower_id, upper_id"), &self.links),
            (table("call_alias", "tenant, anchor, resolves_to, ambiguous"), &self.aliases),
            (
                table(
                    "notice_fact",
                    "timeline_id, tenant, anchor, fact_id, content_digest, at_ms, kind, fact, entered_at",
                ),
                &self.notice_facts,
            ),
            (
                table(
                    "call",
                    "tenant, call, started_at, ended_at, end_presumed, recording, recording_stale, transcription, transcription_stale, group_id, kind, apps, terms_digest, flags, summary, fact_count, last_activity_at, next_evaluation_at, evaluated_at",
                ),
                &self.calls,
            ),
            (
                table(
                    "session",
                    "tenant, call, session, identity, ours, raw_id, display_name, kind, participant_id, attachments, user_agent, joined_at, left_at, join_inferred, left_inferred, flags, proof",
                ),
                &self.sessions,
            ),
            (
                table(
                    "capture",
                    "tenant, call, type, started_at, ended_at, start_source, sources, recordings, kinds",
                ),
                &self.captures,
            ),
            (
                table(
                    "obligation",
                    "tenant, call, session, type, due_at, ends_at, dispatched_at, delivered_at, shown_at, acknowledged_at, already_shown, exposure_ms, exposure_min_ms, shown_ms, late_facts, status, consent, proof",
                ),
                &self.obligations,
            ),
            (
                table(
                    "exception",
                    "tenant, id, kind, severity, call, source, subject, at_ms, facts, sentence, opened_at, closed_at, closed_by, closed_by_key, reason, cause_ended, history_length",
                ),
                &self.exceptions,
            ),
            (
                table(
                    "exception_history",
                    "tenant, exception_id, position, change, at, actor, actor_key, reason, facts, version",
                ),
                &self.exception_history,
            ),
        ]
    }

    /// The lines of verdicts, made from facts that are visible in this snapshot.
    pub(crate) fn verdicts(&mut self, snapshot: &str) -> (CopiedTable, String) {
        let mut lines = String::new();
        for verdict in &mut self.verdicts {
            verdict.text(snapshot).end();
            lines.push_str(verdict.as_str());
        }
        let columns = "tenant, call, version, rules, verdict, made_at, as_of, report, fingerprint, anchors, reason, changed_by, proofs, snapshot";
        (CopiedTable { name: "verdict", columns }, lines)
    }

    /// An event. Its key has a row only while keys of that day are kept.
    pub(crate) fn add_entry(
        &mut self,
        entry: &NewEntry<'_>,
        content: Digest,
        keeps_keys_from: NaiveDate,
    ) {
        self.entry_count += 1;
        let day = entry.received_at.date_naive();
        if day >= keeps_keys_from {
            let keys = &mut self.event_keys;
            keys.bytes(entry.key.as_bytes()).bytes(content.as_bytes()).plain(day).end();
        }
        self.entries
            .plain(entry.id)
            .text(entry.tenant)
            .instant(entry.received_at)
            .optional(entry.anchor.as_deref())
            .text(entry.kind)
            .text(entry.source_type)
            .text(entry.provenance)
            .text(entry.source)
            .text(entry.ce_source)
            .text(entry.ce_id)
            .optional(entry.ce_time)
            .plain(entry.at_ms)
            .bytes(entry.key.as_bytes())
            .bytes(entry.sha256.as_bytes())
            .bytes(entry.original.as_bytes())
            .optional(entry.content_coding)
            .optional(entry.charset)
            .text(entry.event)
            .texts(entry.flags.iter().copied())
            .end();
    }

    pub(crate) fn add_fact(&mut self, fact: &NewFact<'_>) {
        self.facts
            .text(fact.tenant)
            .text(&fact.anchor)
            .bytes(fact.key.as_bytes())
            .bytes(fact.content_digest.as_bytes())
            .text(fact.kind)
            .plain(fact.at_ms)
            .text(fact.event)
            .optional_plain(fact.received_ms)
            .end();
    }

    pub(crate) fn add_link(&mut self, link: &AliasLink) {
        let links = &mut self.links;
        links.text(&self.tenant).text(link.lower.as_str()).text(link.upper.as_str()).end();
    }

    pub(crate) fn add_alias(&mut self, alias: &ResolvedAlias) {
        let aliases = &mut self.aliases;
        aliases.text(&self.tenant).text(alias.anchor.as_str()).text(alias.call.as_str());
        aliases.plain(alias.is_ambiguous).end();
    }

    pub(crate) fn add_notice_fact(&mut self, fact: &NewNoticeFact<'_>, entered_at: DateTime<Utc>) {
        self.notice_facts
            .plain(fact.timeline_id)
            .text(fact.tenant)
            .text(&fact.anchor)
            .bytes(fact.fact_id.as_bytes())
            .bytes(fact.content_digest.as_bytes())
            .plain(fact.at_ms)
            .text(fact.kind)
            .text(&fact.fact)
            .instant(entered_at)
            .end();
    }

    /// The rows of a call, its sessions and its captures.
    ///
    /// # Errors
    ///
    /// [`StoreError::Inconsistent`]: its summary cannot be written.
    pub(crate) fn add_call(&mut self, set: &CallRowSet) -> Result<(), StoreError> {
        let summary = serde_json::to_string(&set.summary)
            .map_err(|error| StoreError::Inconsistent(error.to_string()))?;
        self.terms.add(set);
        self.calls
            .text(&set.tenant)
            .text(&set.call)
            .instant(set.started_at)
            .optional_instant(set.ended_at)
            .plain(set.end_presumed)
            .text(set.recording)
            .plain(set.recording_stale)
            .text(set.transcription)
            .plain(set.transcription_stale)
            .optional(set.group_id.as_deref())
            .optional(set.kind)
            .texts(set.apps.iter().map(String::as_str))
            .plain(set.terms_digest)
            .texts(set.flags.iter().map(String::as_str))
            .text(&summary)
            .plain(set.fact_count)
            .optional_instant(set.last_activity_at)
            .optional_instant(set.next_evaluation_at)
            .instant(set.evaluated_at)
            .end();
        for session in &set.sessions {
            self.sessions
                .text(&set.tenant)
                .text(&set.call)
                .text(&session.session)
                .text(&session.identity)
                .plain(session.ours)
                .optional(session.raw_id.as_deref())
                .optional(session.display_name.as_deref())
                .optional(session.kind.as_deref())
                .optional(session.participant_id.as_deref())
                .text(&session.attachments.to_string())
                .optional(session.user_agent.as_deref())
                .instant(session.joined_at)
                .optional_instant(session.left_at)
                .plain(session.join_inferred)
                .plain(session.left_inferred)
                .texts(session.flags.iter().copied())
                .optional(session.proof)
                .end();
        }
        for capture in &set.captures {
            self.captures
                .text(&capture.tenant)
                .text(&capture.call)
                .text(&capture.r#type)
                .instant(capture.started_at)
                .optional_instant(capture.ended_at)
                .text(&capture.start_source)
                .texts(capture.sources.iter().map(String::as_str))
                .texts(capture.recordings.iter().map(String::as_str))
                .texts(capture.kinds.iter().map(String::as_str))
                .end();
        }
        Ok(())
    }

    /// A verdict and its obligations.
    ///
    /// # Errors
    ///
    /// [`StoreError::Inconsistent`]: its proofs cannot be written.
    pub(crate) fn add_verdict(&mut self, row: &VerdictRow) -> Result<(), StoreError> {
        let proofs = serde_json::to_string(&row.proofs)
            .map_err(|error| StoreError::Inconsistent(error.to_string()))?;
        let mut line = CopyText::default();
        line.text(&self.tenant)
            .text(&row.call)
            .plain(row.version)
            .text(row.rules)
            .text(row.verdict)
            .instant(row.as_of)
            .instant(row.as_of)
            .text(&row.report)
            .bytes(row.fingerprint.as_bytes())
            .texts(row.anchors.iter().map(String::as_str))
            .text(row.reason)
            .text(&row.changed_by.to_string())
            .text(&proofs);
        self.verdicts.push(line);
        for obligation in &row.obligations {
            let Some(due_at) = instant(Some(obligation.due_at)) else {
                // Beyond the calendar is no parsed time.
                continue;
            };
            self.obligations
                .text(&self.tenant)
                .text(&row.call)
                .text(&obligation.session)
                .text(obligation.capture_type.as_str())
                .instant(due_at)
                .optional_instant(instant(obligation.ends_at))
                .optional_instant(instant(obligation.dispatched_at))
                .optional_instant(instant(obligation.delivered_at))
                .optional_instant(instant(obligation.shown_at))
                .optional_instant(instant(obligation.acknowledged_at))
                .plain(obligation.already_shown)
                .optional_plain(obligation.exposure_ms)
                .optional_plain(obligation.exposure_min_ms)
                .optional_plain(obligation.shown_ms)
                .plain(i32::try_from(obligation.late_facts).unwrap_or(i32::MAX))
                .text(obligation.status.as_str())
                .text(obligation.consent.as_str())
                .optional(row.proofs.of(&obligation.session).map(<&str>::from))
                .end();
        }
        Ok(())
    }

    /// An exception that is opened at this instant, and the lines of its history.
    pub(crate) fn add_exception(&mut self, opened: &OpenedException, opened_at: DateTime<Utc>) {
        let OpenedException { step, closing } = opened;
        let content = &step.content;
        let facts = Value::Object(content.facts.clone()).to_string();
        let closed = closing.as_ref();
        self.exceptions
            .text(&self.tenant)
            .plain(step.id)
            .text(content.kind.as_str())
            .text(content.kind.row().severity.as_str())
            .optional(step.call.as_deref())
            .optional(content.source())
            .text(&content.subject)
            .optional_plain(content.at)
            .text(&facts)
            .text(&content.sentence())
            .instant(opened_at)
            .optional_instant(closed.map(|closing| closing.at))
            .optional(closed.map(|closing| closing.key.name.as_str()))
            .optional_plain(closed.map(|closing| closing.key.id))
            .optional(closed.map(|closing| closing.reason))
            .plain(false)
            .plain(1 + i32::from(closed.is_some()))
            .end();
        if let Some(line) = &step.line {
            self.exception_history
                .text(&self.tenant)
                .plain(step.id)
                .plain(1)
                .text("opened")
                .instant(opened_at)
                .text("itself")
                .null()
                .text(&line.reason)
                .text(&line.facts.to_string())
                .optional_plain(line.version)
                .end();
        }
        if let Some(closing) = closed {
            self.exception_history
                .text(&self.tenant)
                .plain(step.id)
                .plain(2)
                .text("closed")
                .instant(closing.at)
                .text(&closing.key.name)
                .plain(closing.key.id)
                .text(closing.reason)
                .text(&facts)
                .null()
                .end();
        }
    }
}

/// `None` beyond the calendar.
fn instant(at: Option<Millis>) -> Option<DateTime<Utc>> {
    at.and_then(DateTime::from_timestamp_millis)
}
