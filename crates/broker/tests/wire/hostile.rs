//! Clients that do what no client should: they lose their connection, nobody else does.

use courant_broker::{BrokerOptions, Limits};
use kafka_protocol::messages::{ApiKey, MetadataRequest};

use crate::support::TestBroker;

/// Key, version, correlation id, null client id.
fn header(key: i16, version: i16) -> Vec<u8> {
    let mut bytes = key.to_be_bytes().to_vec();
    bytes.extend(version.to_be_bytes());
    bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
    bytes
}

#[tokio::test]
async fn a_broken_frame_costs_its_sender_the_connection_and_nobody_else() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut bystander = broker.client().await;
    let metadata = ApiKey::Metadata as i16;
    let produce = ApiKey::Produce as i16;
    let frame = |body: Vec<u8>| [(body.len() as i32).to_be_bytes().to_vec(), body].concat();
    let with = |key, version, tail: &[u8]| frame([header(key, version), tail.to_vec()].concat());
    let cases = [
        b"GET / HTTP/1.1\r\nHost: here\r\n\r\n".to_vec(),
        vec![0xff; 64],
        vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 9, 0, 0, 0, 1],
        with(9_999, 0, &[]),
        with(metadata, 99, &[]),
        with(metadata, -1, &[]),
        // More topics than bytes; as a plain count, and as a varint behind empty tags.
        with(metadata, 1, &i32::MAX.to_be_bytes()),
        with(metadata, 9, &[0, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        // Tags without end in the header.
        with(metadata, 9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        // A produce request whose records are longer than itself.
        with(
            produce,
            3,
            &[
                0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 0, 0x7f,
                0, 0, 0,
            ],
        ),
    ];
    for case in cases {
        let mut client = broker.client().await;
        client.send_bytes(&case).await.unwrap();
        client.closed().await;
    }
    bystander.call(&MetadataRequest::default(), 9).await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_and_a_place_comes_free() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let broker = TestBroker::start(BrokerOptions { limits, ..BrokerOptions::default() }).await;
    let mut first = broker.client().await;
    let mut second = broker.client().await;
    first.call(&MetadataRequest::default(), 9).await;
    second.call(&MetadataRequest::default(), 9).await;
    let mut third = broker.client().await;
    third.closed().await;
    drop(first);
    let again = async {
        loop {
            let mut client = broker.client().await;
            if client.try_call(&MetadataRequest::default(), 9).await.is_ok() {
                break;
            }
        }
    };
    tokio::time::timeout(crate::support::PATIENCE, again).await.unwrap();
    second.call(&MetadataRequest::default(), 9).await;
}

#[tokio::test]
async fn a_client_that_closes_half_way_is_forgotten() {
    let broker = TestBroker::start(BrokerOptions::default()).await;
    let mut client = broker.client().await;
    client.send_bytes(&[0, 0, 1, 0, 0, 3]).await.unwrap();
    drop(client);
    broker.client().await.call(&MetadataRequest::default(), 9).await;
    broker.stop().await;
}
