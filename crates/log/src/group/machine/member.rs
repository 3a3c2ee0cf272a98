//! One member of a group: what it said, what it got, and what it waits for.
//!
//! A member waits for at most one join and one sync; whoever asks again takes the
//! place of the earlier call, which is sent to join again. While a member waits it
//! counts as alive, except before its first generation, when nothing else bounds it.

use bytes::Bytes;

use super::types::{Answer, JoinRequest, Protocol, Ticket};
use crate::LogError;

/// How long a new member may wait for its first generation. It has no id to send
/// heartbeats with yet; Kafka's value.
const NEW_MEMBER_TIMEOUT_MS: u64 = 300_000;

#[derive(Debug)]
pub(super) struct Member {
    pub(super) instance_id: Option<String>,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: u64,
    pub(super) rebalance_timeout_ms: u64,
    pub(super) protocols: Vec<Protocol>,
    pub(super) assignment: Bytes,
    pub(super) joining: Option<Ticket>,
    pub(super) syncing: Option<Ticket>,
    /// True until its first generation.
    pub(super) is_new: bool,
    /// Silent at this instant the member is out, unless it waits.
    pub(super) silent_at_ms: u64,
}

impl Member {
    pub(super) fn new(request: JoinRequest, ticket: Ticket, now_ms: u64) -> Self {
        let mut member = Self {
            instance_id: request.instance_id,
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout_ms: request.session_timeout_ms.max(1),
            rebalance_timeout_ms: request.rebalance_timeout_ms.max(1),
            protocols: request.protocols,
            assignment: Bytes::new(),
            joining: Some(ticket),
            syncing: None,
            is_new: true,
            silent_at_ms: 0,
        };
        member.touch(now_ms);
        member
    }

    /// Takes over what a later join says.
    pub(super) fn update(&mut self, request: JoinRequest) {
        self.client_id = request.client_id;
        self.client_host = request.client_host;
        self.session_timeout_ms = request.session_timeout_ms.max(1);
        self.rebalance_timeout_ms = request.rebalance_timeout_ms.max(1);
        self.protocols = request.protocols;
    }

    pub(super) fn says_the_same(&self, protocols: &[Protocol]) -> bool {
        self.protocols == protocols
    }

    /// Bytes that the member has brought and been given.
    pub(super) fn held_bytes(&self) -> usize {
        let protocols = self.protocols.iter().map(|one| one.name.len() + one.metadata.len());
        let instance = self.instance_id.as_ref().map_or(0, String::len);
        let names = self.client_id.len() + self.client_host.len() + instance;
        protocols.sum::<usize>() + names + self.assignment.len()
    }

    pub(super) fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|one| one.name == protocol)
    }

    /// What the member says about itself under a protocol.
    pub(super) fn metadata(&self, protocol: &str) -> Bytes {
        let found = self.protocols.iter().find(|one| one.name == protocol);
        found.map(|one| one.metadata.clone()).unwrap_or_default()
    }

    /// When the member is out if nothing is heard of it; `None` while it waits.
    pub(super) fn deadline_ms(&self) -> Option<u64> {
        let waits = self.joining.is_some() || self.syncing.is_some();
        (self.is_new || !waits).then_some(self.silent_at_ms)
    }

    pub(super) fn is_silent(&self, now_ms: u64) -> bool {
        self.deadline_ms().is_some_and(|deadline| deadline <= now_ms)
    }

    pub(super) const fn touch(&mut self, now_ms: u64) {
        let timeout_ms = if self.is_new { NEW_MEMBER_TIMEOUT_MS } else { self.session_timeout_ms };
        self.silent_at_ms = now_ms.saturating_add(timeout_ms);
    }

    /// Answers whatever the member waits for with a refusal.
    pub(super) fn refuse(&mut self, refusal: &LogError, answers: &mut Vec<Answer>) {
        if let Some(ticket) = self.joining.take() {
            answers.push(Answer::Join(ticket, Err(refusal.clone())));
        }
        if let Some(ticket) = self.syncing.take() {
            answers.push(Answer::Sync(ticket, Err(refusal.clone())));
        }
    }
}
