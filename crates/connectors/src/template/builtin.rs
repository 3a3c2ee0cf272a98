//! The built-in templates: the events of the four examples.
//!
//! Each is a plain function from a scene to a document. Field names, their order
//! and their values' forms are given by the examples; people's scripts rely on
//! them. Dates stay near the scene's present, so that windows see them.

use courant_model::Timestamp;
use fake::faker::{
    address::en::{CityName, CountryName},
    name::en::{FirstName, LastName},
};
use serde_json::{Value, json};

use super::Scene;

/// A built-in template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BuiltIn {
    Message,
    PageEvent,
    Order,
    Customer,
    Bet,
}

/// Their names.
pub(crate) const BUILT_IN: [(&str, BuiltIn); 5] = [
    ("message", BuiltIn::Message),
    ("page_event", BuiltIn::PageEvent),
    ("order", BuiltIn::Order),
    ("customer", BuiltIn::Customer),
    ("bet", BuiltIn::Bet),
];

/// Customers that orders are placed by, numbered from [`CUSTOMER_FIRST`].
const CUSTOMERS: i64 = 120;
const CUSTOMER_FIRST: i64 = 101;

/// The first order's number; above those of the well-known sample data.
const ORDER_FIRST: i64 = 20_000;

/// Customers that bets are placed by, numbered from 1.
const BETTORS: i64 = 1_000;

const DAY_MS: i64 = 86_400_000;

impl BuiltIn {
    pub(crate) fn named(name: &str) -> Option<Self> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, built_in)| *built_in)
    }

    pub(super) fn render(self, scene: &mut Scene<'_>) -> Value {
        match self {
            Self::Message => message(scene),
            Self::PageEvent => page_event(scene),
            Self::Order => order(scene),
            Self::Customer => customer(scene),
            Self::Bet => bet(scene),
        }
    }
}

/// An instant as RFC 3339 with milliseconds, UTC.
pub(super) fn time_text(at: Timestamp) -> String {
    instant(at).strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

/// A day as `YYYY-MM-DD`, so many days from the instant.
pub(super) fn date_text(at: Timestamp, days: i64) -> String {
    instant(at.plus_millis(days * DAY_MS)).strftime("%Y-%m-%d").to_string()
}

fn instant(at: Timestamp) -> jiff::Timestamp {
    jiff::Timestamp::from_millisecond(at.as_millis()).unwrap_or_default()
}

fn message(scene: &mut Scene<'_>) -> Value {
    let random = &mut *scene.random;
    let who = random.one_of(&["A courier", "The harbour", "A sensor", "The night shift", "A gull"]);
    let verb = random.one_of(&["reports", "counts", "misses", "welcomes", "forwards"]);
    let what = random.one_of(&["fresh data", "nine boats", "a quiet hour", "new orders", "rain"]);
    let when = random.one_of(&["today", "at dawn", "once more", "on time", "as ever"]);
    let end = random.one_of(&[".", ".", "!"]);
    json!({ "text": format!("{who} {verb} {what} {when}{end}"), "source": "system-generator" })
}

fn page_event(scene: &mut Scene<'_>) -> Value {
    json!({
        "name": scene.random.one_of(&["P1", "P2"]),
        "user": scene.random.one_of(&["U1", "U2"]),
        "date": time_text(scene.now),
        "duration": scene.random.int(10, 10_000),
    })
}

fn order(scene: &mut Scene<'_>) -> Value {
    const STATUSES: [&str; 6] =
        ["In Process", "Shipped", "On Hold", "Disputed", "Resolved", "Cancelled"];
    const COMMENTS: [&str; 4] = [
        "Deliver to the back entrance",
        "Customer asked for a call before delivery",
        "Gift wrapping",
        "Terms discussed with the sales office",
    ];
    let number = ORDER_FIRST.saturating_add(i64::try_from(scene.number).unwrap_or(i64::MAX));
    let random = &mut *scene.random;
    let (age, wait) = (random.int(0, 6), random.int(5, 10));
    let status = random.one_of(&STATUSES);
    let was_shipped = matches!(status, "Shipped" | "Resolved" | "Disputed");
    let shipped = was_shipped.then(|| date_text(scene.now, -age + random.int(0, age)));
    let comments = random.percent(30).then(|| random.one_of(&COMMENTS));
    let customer = CUSTOMER_FIRST + random.int(0, CUSTOMERS - 1);
    let count = random.int(1, 5);
    json!({
        "orderNumber": number,
        "orderDate": date_text(scene.now, -age),
        "requiredDate": date_text(scene.now, wait),
        "shippedDate": shipped,
        "status": status,
        "comments": comments,
        "customerNumber": customer,
        "lines": (1..=count).map(|line| order_line(scene, line)).collect::<Vec<_>>(),
    })
}

/// A line of an order; the line's number keeps its product apart from the others'.
fn order_line(scene: &mut Scene<'_>, line: i64) -> Value {
    let random = &mut *scene.random;
    let scale = random.one_of(&["S10", "S12", "S18", "S24", "S32", "S50", "S72"]);
    json!({
        "productCode": format!("{scale}_{}", 1_000 + line * 700 + random.int(0, 699)),
        "quantityOrdered": random.int(6, 97),
        "priceEach": cents(random.int(2_600, 21_400)),
        "orderLineNumber": line,
    })
}

fn customer(scene: &mut Scene<'_>) -> Value {
    let id = scene.number.saturating_add(1);
    let first: String = scene.random.fake(&FirstName());
    let last: String = scene.random.fake(&LastName());
    let mail = |name: &str| name.to_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let registered = scene.now.plus_millis(-scene.random.int(0, 3 * 365 * DAY_MS));
    json!({
        "customer_id": id,
        "first_name": first,
        "last_name": last,
        "email": format!("{}.{}{id}@example.com", mail(&first), mail(&last)),
        "birth_date": date_text(scene.now, -scene.random.int(18 * 365 + 5, 80 * 365)),
        "city": scene.random.fake(&CityName()),
        "country": scene.random.fake(&CountryName()),
        "registered_at": time_text(registered),
        "segment": scene.random.one_of(&["new", "casual", "regular", "vip"]),
    })
}

fn bet(scene: &mut Scene<'_>) -> Value {
    let random = &mut *scene.random;
    let racecourse =
        random.one_of(&["Vincennes", "Longchamp", "Auteuil", "Chantilly", "Deauville", "Enghien"]);
    let race = random.int(1, 9);
    json!({
        "bet_id": random.uuid(),
        "customer_id": random.int(1, BETTORS),
        "placed_at": time_text(scene.now),
        "race_id": format!("{}-{}-R{race}", date_text(scene.now, 0), &racecourse[..3].to_uppercase()),
        "racecourse": racecourse,
        "horse_number": random.int(1, 18),
        "bet_type": random.one_of(&["win", "place", "exacta", "trifecta", "quinte"]),
        "stake": cents(random.int(200, 50_000)),
        "odds": cents(random.int(110, 6_000)),
        "channel": random.one_of(&["web", "mobile", "shop"]),
        "status": "placed",
    })
}

/// Hundredths as a number with two digits after the point.
fn cents(hundredths: i64) -> f64 {
    // Exact: far below 2^53, and division rounds to the nearest decimal's double.
    hundredths as f64 / 100.0
}
