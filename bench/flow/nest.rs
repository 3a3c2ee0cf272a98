//! Rows → nested documents: orders as they are made, and changes of single lines.
//!
//! An order is a transaction of ten rows, itself and nine lines; a change is a transaction
//! of one row, which makes a document with all ten anew. One partition, as the step needs
//! it; documents go to a topic, exactly once. Both are filled in before the pipeline starts.

use std::time::{Duration, Instant};

use courant_log::Log;
use courant_model::{
    Clock, Record, SystemClock, TopicName, TopicPartition,
    change::{Operation, TABLE_HEADER, TRANSACTION_END_HEADER, TRANSACTION_HEADER},
};
use courant_pipeline::connector::Connectors;

use super::{Outcome, STOP, World, cpu_seconds};

const ORDERS: usize = 50_000;
const LINES: usize = 9;
const CHANGES: usize = 200_000;
const PRODUCTS: usize = 110;
const CUSTOMERS: usize = 122;

const FILE: &str = "
version: 1
name: bench
topics:
  rows: { partitions: 1 }
  documents: { partitions: 1 }
pipelines:
  flow:
    from: rows
    steps:
      - nest:
          table: orders
          key: orderNumber
          many:
            lines:
              table: orderdetails
              key: [orderNumber, productCode]
              on: orderNumber
              sort: orderLineNumber
              one:
                product: { table: products, key: productCode, on: productCode, fields: [productName, productVendor] }
          one:
            customer: { table: customers, key: customerNumber, on: customerNumber, fields: [customerName] }
          version: version
          moves_with: customerNumber
    to: documents
";

/// Prints two rows of the table.
pub(super) async fn measure() -> Outcome<()> {
    let bench = World::new(FILE, Connectors::default()).await?;
    bench.start().await?.stop(STOP).await?;
    let memory = resident_bytes()?;
    let mut rows = references();
    rows.extend((0..ORDERS).flat_map(order));
    run(&bench, "rows → nest → topic, new orders", rows, ORDERS).await?;
    let held = resident_bytes()?.saturating_sub(memory) / (ORDERS * (LINES + 1));
    let changes = (0..CHANGES).map(change).collect();
    run(&bench, "rows → nest → topic, changes of one line", changes, CHANGES).await?;
    println!("\nnest: at most {held} bytes of memory a row, documents and buffers included");
    Ok(())
}

/// Appends rows, and lets the pipeline make `documents` of them.
async fn run(bench: &World, name: &str, rows: Vec<Record>, documents: usize) -> Outcome<()> {
    let (topic, count) = (TopicName::new("rows")?, rows.len() as u64);
    for batch in rows.chunks(10_000) {
        bench.log.append(&topic, None, batch.to_vec()).await?;
    }
    drop(rows);
    let out = TopicPartition::new(TopicName::new("documents")?, 0);
    let before = bench.log.offsets(&out).await?.end;
    let runtime = bench.start().await?;
    let status = || runtime.pipeline("flow").ok_or("the pipeline is gone");
    // Reading the memory of the step back is no part of the rate.
    while status()?.records_in == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (start, cpu, first) = (Instant::now(), cpu_seconds()?, status()?.records_in);
    // Each transaction that was written ends with a marker, which has an offset too.
    while bench.log.offsets(&out).await?.end - before < i64::try_from(documents)?
        || status()?.records_in < count
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let given_out = status()?.records_out;
    let count = (count - first) as f64;
    runtime.stop(STOP).await?;
    assert_eq!(given_out, documents as u64, "{name} gave out another number of documents");
    println!("| {name} | {:.0} | {:.0} |", count / seconds, count / cpu);
    Ok(())
}

fn row(table: &str, value: String, transaction: String, is_last: bool) -> Record {
    let mut record = Record::new(value, SystemClock.now())
        .with_header(TABLE_HEADER, format!("classicmodels.{table}"))
        .with_header(TRANSACTION_HEADER, transaction);
    record.headers.push(Operation::Update.header());
    if is_last { record.with_header(TRANSACTION_END_HEADER, "last") } else { record }
}

fn references() -> Vec<Record> {
    let product = |code: usize| {
        let value = format!(
            "{{\"productCode\":\"S{code}\",\"productName\":\"1936 Roadster {code}\",\
             \"productLine\":\"Vintage Cars\",\"productVendor\":\"Red Start Diecast\",\
             \"quantityInStock\":{code},\"buyPrice\":\"33.30\",\"MSRP\":\"54.60\"}}"
        );
        row("products", value, "products".into(), code + 1 == PRODUCTS)
    };
    let customer = |number: usize| {
        let value = format!(
            "{{\"customerNumber\":{number},\"customerName\":\"Diecast Creations {number}\",\
             \"phone\":\"6035558647\",\"city\":\"Nashua\",\"creditLimit\":\"114200.00\"}}"
        );
        row("customers", value, "customers".into(), number + 1 == CUSTOMERS)
    };
    (0..PRODUCTS).map(product).chain((0..CUSTOMERS).map(customer)).collect()
}

/// An order with its lines, one transaction.
fn order(number: usize) -> impl Iterator<Item = Record> {
    let customer = number % CUSTOMERS;
    let order = format!(
        "{{\"orderNumber\":{number},\"orderDate\":\"2026-01-06\",\"requiredDate\":\"2026-01-13\",\
         \"shippedDate\":\"2026-01-10\",\"status\":\"Shipped\",\"comments\":null,\
         \"customerNumber\":{customer}}}"
    );
    let first = row("orders", order, format!("o{number}"), false);
    let lines = (0..LINES).map(move |line| {
        row("orderdetails", line_of(number, line, 1), format!("o{number}"), line + 1 == LINES)
    });
    std::iter::once(first).chain(lines)
}

/// Another quantity in one line of some order.
fn change(index: usize) -> Record {
    let (number, line) = (index.wrapping_mul(7_919) % ORDERS, index / ORDERS % LINES);
    row("orderdetails", line_of(number, line, 2 + index), format!("c{index}"), true)
}

fn line_of(number: usize, line: usize, quantity: usize) -> String {
    let product = (number + line) % PRODUCTS;
    format!(
        "{{\"orderNumber\":{number},\"productCode\":\"S{product}\",\
         \"quantityOrdered\":{quantity},\"priceEach\":\"35.29\",\"orderLineNumber\":{}}}",
        line + 1
    )
}

/// Memory of this process that is in use.
fn resident_bytes() -> Outcome<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages = statm.split_whitespace().nth(1).ok_or("no resident pages")?;
    Ok(pages.parse::<usize>()? * 4096)
}
