//! Finds the subscribers that may see a call, and the calls that a subscriber may see.

use std::collections::{BTreeMap, BTreeSet};

use super::subscriber::{SubscriberId, SubscriptionScope};
use super::subscriber_registry::SubscriberKey;
use crate::config::ClientPolicy;
use crate::http::subscriber_token::token_subject::TokenSubject;
use crate::live::coverage::coverage;
use crate::live::tenant_calls::TenantCalls;
use onrecord_evidence::event::instant::Millis;
use onrecord_evidence::identity::alias_graph::Anchor;

impl TenantCalls {
    /// The subscribers to all calls of the persons that own one of these anchors.
    pub(super) fn subscribers_of_owners<'m>(
        &self,
        anchors: impl IntoIterator<Item = &'m Anchor>,
    ) -> BTreeSet<SubscriberId> {
        let persons = anchors.into_iter().filter_map(|anchor| self.owners.owner(anchor));
        self.subscribers.find(persons.map(|person| SubscriberKey::Person(person.to_owned())))
    }

    /// The subscribers that may see a call with these members.
    pub(crate) fn recipients(
        &self,
        call: &Anchor,
        members: &BTreeSet<Anchor>,
    ) -> BTreeSet<SubscriberId> {
        if self.subscribers.is_empty() {
            return BTreeSet::new();
        }
        let mut recipients = self.found_by(members);
        recipients.extend(self.subscribers.find([SubscriberKey::Everything]));
        recipients.retain(|id| self.is_recipient(*id, call));
        recipients
    }

    /// The subscribers that name one of these anchors, or whose person owns one.
    pub(crate) fn found_by<'m>(
        &self,
        members: impl IntoIterator<Item = &'m Anchor, IntoIter: Clone>,
    ) -> BTreeSet<SubscriberId> {
        let members = members.into_iter();
        let mut found =
            self.subscribers.find(members.clone().map(|it| SubscriberKey::Call(it.clone())));
        found.extend(self.subscribers_of_owners(members));
        found
    }

    /// Whether a subscriber that was found by a member of a call may see the call. An anchor may stand
    /// for several calls; the subscriber gets the first known one.
    pub(crate) fn is_recipient(&self, id: SubscriberId, call: &Anchor) -> bool {
        self.subscribers.get(id).is_some_and(|it| match &it.scope {
            // The anchor is one of the members, because the registry found the subscriber by it.
            SubscriptionScope::Call { anchors, .. } if anchors.len() == 1 => true,
            SubscriptionScope::Person { .. } | SubscriptionScope::Everything => true,
            scope => self.single_call(scope).as_ref() == Some(call),
        })
    }

    /// The call of a scope that covers one call.
    pub(super) fn single_call(&self, scope: &SubscriptionScope) -> Option<Anchor> {
        let known = |anchor: &Anchor| {
            let call = self.aliases.call_of(anchor);
            self.calls.contains_key(&call).then_some(call)
        };
        match scope {
            SubscriptionScope::Attachment { attachment, subject } => {
                // The named attachment may belong to another person.
                let anchor = Anchor::attachment(attachment);
                let own = self.owners.owner(&anchor) == Some(&subject.raw_id);
                own.then(|| known(&anchor)).flatten()
            }
            SubscriptionScope::Call { anchors, .. } => anchors.iter().find_map(known),
            SubscriptionScope::Person { .. } | SubscriptionScope::Everything => None,
        }
    }

    /// Whether the token of a scope covers a call of the scope at `now`. Of a scope that covers one
    /// call, the stream session checks it.
    pub(super) fn covers(&self, scope: &SubscriptionScope, call: &Anchor, now: Millis) -> bool {
        let SubscriptionScope::Person { subject, clients: ClientPolicy::Granted } = scope else {
            return true;
        };
        let own: Vec<&Anchor> = self.attachments_in(&subject.raw_id, call).collect();
        self.covers_by(subject, call, &own, now)
    }

    /// Whether the token of a person with these attachments in a call covers it at `now`.
    fn covers_by(
        &self,
        subject: &TokenSubject,
        call: &Anchor,
        own: &[&Anchor],
        now: Millis,
    ) -> bool {
        let anchors = own.iter().flat_map(|attachment| self.owners.anchors(attachment));
        let stated: BTreeSet<&Anchor> = anchors
            .filter(|it| it.is_server_call_id() && self.aliases.call_of(it) == *call)
            .collect();
        let known = self.known_by(call, own);
        coverage(subject, stated.into_iter().map(Anchor::as_str), known, now).is_ok()
    }

    /// The calls of a scope.
    pub(super) fn calls_in_scope(
        &self,
        scope: &SubscriptionScope,
        now: Millis,
    ) -> BTreeSet<Anchor> {
        match scope {
            SubscriptionScope::Attachment { .. } | SubscriptionScope::Call { .. } => {
                self.single_call(scope).into_iter().collect()
            }
            SubscriptionScope::Person { subject, clients } => {
                let mut own: BTreeMap<Anchor, Vec<&Anchor>> = BTreeMap::new();
                for attachment in self.owners.attachments(&subject.raw_id) {
                    own.entry(self.aliases.call_of(attachment)).or_default().push(attachment);
                }
                let requires_grant = *clients == ClientPolicy::Granted;
                own.retain(|call, own| {
                    self.calls.contains_key(call)
                        && (!requires_grant || self.covers_by(subject, call, own, now))
                });
                own.into_keys().collect()
            }
            SubscriptionScope::Everything => self.calls.keys().cloned().collect(),
        }
    }

    /// Whether a call is one of a scope that covers many calls.
    pub(super) fn is_in_scope(
        &self,
        scope: &SubscriptionScope,
        call: &Anchor,
        now: Millis,
    ) -> bool {
        self.calls.contains_key(call)
            && match scope {
                SubscriptionScope::Person { subject, .. } => {
                    self.attachments_in(&subject.raw_id, call).next().is_some()
                        && self.covers(scope, call, now)
                }
                SubscriptionScope::Everything => true,
                SubscriptionScope::Attachment { .. } | SubscriptionScope::Call { .. } => false,
            }
    }
}
