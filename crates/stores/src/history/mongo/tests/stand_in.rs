//! The stand-in keeps its word, on which all other tests build: what it answered is there
//! however it ends, and its stream tells each change once.
//!
//! `COURANT_MONGO_KILLS` makes it longer.

use std::collections::{BTreeMap, HashMap};

use mongodb::{Client, Collection, IndexModel, change_stream::event::ResumeToken as Token};

use super::*;

const WRITERS: i64 = 4;

/// Documents of each writer, which no other touches.
const IDS: i64 = 10;

/// A writer, and what it knows to be there.
#[derive(Debug, Default)]
struct Writer {
    number: i64,
    last: i64,
    /// `None`: deleted.
    answered: HashMap<String, Option<i64>>,
    unanswered: Option<(String, Option<i64>)>,
}

impl Writer {
    /// Writes until the server is gone.
    async fn write(mut self, orders: Collection<Bdoc>) -> Self {
        loop {
            self.last += 1;
            let id = format!("{}-{}", self.number, self.last % IDS);
            let n = (self.last % 7 != 0).then_some(self.last);
            self.unanswered = Some((id.clone(), n));
            let one = doc! { "_id": &id };
            let done = match n {
                Some(n) => orders.replace_one(one, doc! { "n": n }).upsert(true).await.map(drop),
                None => orders.delete_one(one).await.map(drop),
            };
            if done.is_err() {
                return self;
            }
            self.answered.insert(id, n);
            self.unanswered = None;
        }
    }

    /// Compares with what is there now, and goes on from that.
    fn check(&mut self, there: &BTreeMap<String, i64>) {
        if let Some((id, n)) = self.unanswered.take()
            && there.get(&id).copied() == n
        {
            self.answered.insert(id, n);
        }
        for (id, n) in &self.answered {
            assert_eq!(there.get(id), n.as_ref(), "{id} was answered");
        }
    }
}

/// What a stream told, one change after the other.
#[derive(Debug, Default)]
struct Told {
    there: BTreeMap<String, i64>,
    newest: HashMap<String, i64>,
    token: Option<Token>,
}

impl Told {
    /// Takes what happened since it was here last, up to a marker that is written now.
    async fn go_on(&mut self, orders: &Collection<Bdoc>, round: i64) {
        let stream = orders.watch();
        let stream = match self.token.take() {
            Some(token) => stream.start_after(token),
            None => stream.start_at_operation_time(Timestamp { time: 1, increment: 0 }),
        };
        let mut stream = stream.await.unwrap();
        let marker = format!("marker-{round}");
        orders.insert_one(doc! { "_id": &marker, "n": round }).await.unwrap();
        while !self.there.contains_key(&marker) {
            let event = stream.try_next().await.unwrap().unwrap();
            let id = event.document_key.unwrap().get_str("_id").unwrap().to_owned();
            match event.full_document {
                Some(document) => {
                    let n = document.get_i64("n").unwrap();
                    let before = self.newest.insert(id.clone(), n);
                    assert!(before.is_none_or(|before| before < n), "{id}: {before:?}, then {n}");
                    self.there.insert(id, n);
                }
                None => assert!(self.there.remove(&id).is_some(), "{id} is deleted again"),
            }
            self.token = stream.resume_token();
        }
    }
}

async fn orders_at(url: &str) -> Collection<Bdoc> {
    let client = Client::with_uri_str(url).await.unwrap();
    client.database("shop").collection("orders")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_there_and_told_once_however_often_the_stand_in_is_killed() {
    let Some(mut server) = MongoServer::start().await else { return };
    let url = server.url("shop");
    // A writer must not wait for the server's return.
    let impatient = format!("{url}&serverSelectionTimeoutMS=1000&retryWrites=false");
    let mut writers: Vec<Writer> =
        (0..WRITERS).map(|number| Writer { number, ..Writer::default() }).collect();
    let (mut told, mut indexes) = (Told::default(), vec!["_id_".to_owned()]);
    let kills = std::env::var("COURANT_MONGO_KILLS").ok().and_then(|text| text.parse().ok());
    for round in 1..=kills.unwrap_or(8_i64) {
        let orders = orders_at(&impatient).await;
        let writing = writers.drain(..).map(|writer| tokio::spawn(writer.write(orders.clone())));
        let writing: Vec<_> = writing.collect();
        let index = IndexModel::builder().keys(doc! { (format!("n{round}")): 1 }).build();
        indexes.push(orders.create_index(index).await.unwrap().index_name);
        tokio::time::sleep(Duration::from_millis(round as u64 * 37 % 200)).await;
        match round % 8 {
            0 => server.stop().await,
            _ => server.kill().await,
        }
        server.start_again().await;
        let orders = orders_at(&url).await;
        let there = orders.find(doc! {}).await.unwrap().try_collect::<Vec<Bdoc>>().await.unwrap();
        let fields = |one: &Bdoc| Some((one.get_str("_id").ok()?.into(), one.get_i64("n").ok()?));
        let mut there: BTreeMap<String, i64> = there.iter().filter_map(fields).collect();
        for writer in writing {
            let mut writer = writer.await.unwrap();
            writer.check(&there);
            writers.push(writer);
        }
        assert_eq!(orders.list_index_names().await.unwrap(), indexes);
        told.go_on(&orders, round).await;
        there.insert(format!("marker-{round}"), round);
        assert_eq!(told.there, there, "what the stream told");
    }
    let writes: i64 = writers.iter().map(|writer| writer.last).sum();
    assert!(writes > kills.unwrap_or(8) * 10, "{writes}");
}

/// A driver that is cut off twice, with no event in between, would begin anew.
#[tokio::test]
async fn a_stream_says_where_it_is_before_its_first_event() {
    let Some(server) = MongoServer::start().await else { return };
    let orders = orders_at(&server.url("shop")).await;
    orders.insert_one(doc! { "_id": "a", "n": 1_i64 }).await.unwrap();
    let mut stream = orders.watch().await.unwrap();
    let began = stream.resume_token().expect("a token");
    orders.insert_one(doc! { "_id": "b", "n": 1_i64 }).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    let mut again = orders.watch().start_after(began.clone()).await.unwrap();
    assert_eq!(again.resume_token(), Some(began));
    let event = again.try_next().await.unwrap().unwrap();
    assert_eq!(event.document_key, Some(doc! { "_id": "b" }));
}

#[tokio::test]
async fn an_insert_that_is_refused_is_not_told() {
    let Some(server) = MongoServer::start().await else { return };
    let orders = orders_at(&server.url("shop")).await;
    orders.insert_one(doc! { "_id": "b", "n": 1_i64 }).await.unwrap();
    let refused = orders.insert_many(["a", "b", "c"].map(|id| doc! { "_id": id, "n": 2_i64 }));
    assert!(refused.await.is_err());
    let mut told = Told::default();
    told.go_on(&orders, 1).await;
    let expected = [("a", 2), ("b", 1), ("marker-1", 1)].map(|(id, n)| (id.to_owned(), n));
    assert_eq!(told.there, BTreeMap::from(expected));
}
