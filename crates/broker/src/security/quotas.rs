//! How much one principal may do in a second: bytes in, bytes out, requests.
//!
//! A token bucket for each, shared by all connections of the principal. What is asked
//! for is always done, and then paid for: the answer carries the time until the debt
//! is paid (`throttle_time_ms`), and the connection is not read until then, as in
//! Kafka. Invariant: a debt is never longer than [`limits::QUOTA_THROTTLE_MS_MAX`].
//! Connections and memory are bounded elsewhere, whoever it is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use courant_model::{ByteSize, limits};
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::time::Instant;

use super::Principal;

/// What each principal may do; what is not set is not bounded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaConfig {
    #[serde(flatten)]
    pub each: QuotaRates,
    /// Other rates for single users; they stand instead of those of everybody.
    pub users: BTreeMap<String, QuotaRates>,
}

/// Rates of one principal, all its connections together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct QuotaRates {
    /// Bytes of produce requests.
    pub produce_bytes_per_second: Option<ByteSize>,
    /// Bytes of fetch answers.
    pub fetch_bytes_per_second: Option<ByteSize>,
    /// Requests of any kind.
    pub requests_per_second: Option<u32>,
}

/// What is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Charge {
    ProduceBytes,
    FetchBytes,
    Requests,
}

/// The accounts of all principals.
#[derive(Debug, Default)]
pub(crate) struct Quotas {
    config: QuotaConfig,
    accounts: Mutex<HashMap<Principal, Arc<Account>>>,
}

/// One principal's buckets, in the order of [`Charge`].
#[derive(Debug)]
pub(crate) struct Account([Option<Mutex<Bucket>>; 3]);

#[derive(Debug)]
struct Bucket {
    per_second: f64,
    /// Below zero is debt; never above one second's worth.
    balance: f64,
    at: Instant,
}

impl Quotas {
    pub(crate) fn new(config: QuotaConfig) -> Self {
        Self { config, accounts: Mutex::default() }
    }

    pub(crate) const fn config(&self) -> &QuotaConfig {
        &self.config
    }

    /// A principal's account; `None` if nothing of it is bounded.
    pub(crate) fn account(&self, principal: &Principal, now: Instant) -> Option<Arc<Account>> {
        let rates = self.config.users.get(principal.name()).unwrap_or(&self.config.each);
        if *rates == QuotaRates::default() {
            return None;
        }
        let mut accounts = self.accounts.lock();
        // Who is gone and owes nothing is forgotten: so many stay as came lately.
        accounts.retain(|_, account| Arc::strong_count(account) > 1 || account.owes(now));
        let account = accounts.entry(principal.clone());
        Some(Arc::clone(account.or_insert_with(|| Arc::new(Account::new(rates, now)))))
    }
}

impl Account {
    fn new(rates: &QuotaRates, now: Instant) -> Self {
        let bytes = |size: Option<ByteSize>| size.map(|size| size.as_bytes() as f64);
        let rates = [
            bytes(rates.produce_bytes_per_second),
            bytes(rates.fetch_bytes_per_second),
            rates.requests_per_second.map(f64::from),
        ];
        let bucket = |per_second| Mutex::new(Bucket { per_second, balance: per_second, at: now });
        Self(rates.map(|rate| rate.map(|rate| bucket(rate.max(1.0)))))
    }

    /// Takes what was done from the account, and tells for how long to do nothing more.
    pub(crate) fn charge(&self, what: Charge, amount: usize, now: Instant) -> Duration {
        match &self.0[what as usize] {
            Some(bucket) => bucket.lock().charge(amount as f64, now),
            None => Duration::ZERO,
        }
    }

    fn owes(&self, now: Instant) -> bool {
        self.0.iter().flatten().any(|bucket| !bucket.lock().charge(0.0, now).is_zero())
    }
}

impl Bucket {
    fn charge(&mut self, amount: f64, now: Instant) -> Duration {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.at = self.at.max(now);
        self.balance = (self.balance + earned).min(self.per_second) - amount;
        let debt_max = self.per_second * limits::QUOTA_THROTTLE_MS_MAX as f64 / 1_000.0;
        self.balance = self.balance.max(-debt_max);
        Duration::from_secs_f64((-self.balance).max(0.0) / self.per_second)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quotas(each: QuotaRates) -> Quotas {
        Quotas::new(QuotaConfig { each, users: BTreeMap::new() })
    }

    const SLOW: QuotaRates = QuotaRates {
        produce_bytes_per_second: Some(ByteSize::from_bytes(1_000)),
        fetch_bytes_per_second: None,
        requests_per_second: Some(10),
    };

    #[test]
    fn a_second_may_be_spent_at_once_and_more_is_waited_for() {
        let quotas = quotas(SLOW);
        let now = Instant::now();
        let account = quotas.account(&Principal::anonymous(), now).unwrap();
        assert_eq!(account.charge(Charge::ProduceBytes, 1_000, now), Duration::ZERO);
        assert_eq!(account.charge(Charge::ProduceBytes, 500, now), Duration::from_millis(500));
        let later = now + Duration::from_millis(500);
        assert_eq!(account.charge(Charge::ProduceBytes, 0, later), Duration::ZERO);
        assert_eq!(account.charge(Charge::FetchBytes, 1 << 30, now), Duration::ZERO);
        let idle = now + Duration::from_secs(3_600);
        assert_eq!(account.charge(Charge::ProduceBytes, 2_000, idle), Duration::from_secs(1));
    }

    #[test]
    fn a_debt_has_an_end() {
        let quotas = quotas(SLOW);
        let now = Instant::now();
        let account = quotas.account(&Principal::anonymous(), now).unwrap();
        let wait = account.charge(Charge::ProduceBytes, usize::MAX, now);
        assert_eq!(wait, Duration::from_millis(limits::QUOTA_THROTTLE_MS_MAX));
    }

    #[test]
    fn connections_of_one_principal_share_an_account_and_debts_outlive_them() {
        let quotas = quotas(SLOW);
        let now = Instant::now();
        let (alice, bob) = (Principal::user("alice"), Principal::user("bob"));
        let first = quotas.account(&alice, now).unwrap();
        first.charge(Charge::Requests, 20, now);
        let second = quotas.account(&alice, now).unwrap();
        assert_eq!(second.charge(Charge::Requests, 0, now), Duration::from_secs(1));
        let other = quotas.account(&bob, now).unwrap();
        assert_eq!(other.charge(Charge::Requests, 1, now), Duration::ZERO);
        drop((first, second, other));
        let again = quotas.account(&alice, now).unwrap();
        assert_eq!(again.charge(Charge::Requests, 0, now), Duration::from_secs(1));
        assert_eq!(quotas.accounts.lock().len(), 1);
    }

    #[test]
    fn a_user_may_have_rates_of_its_own() {
        let free = BTreeMap::from([("alice".to_owned(), QuotaRates::default())]);
        let quotas = Quotas::new(QuotaConfig { each: SLOW, users: free });
        assert!(quotas.account(&Principal::user("alice"), Instant::now()).is_none());
        assert!(quotas.account(&Principal::user("bob"), Instant::now()).is_some());
    }
}
