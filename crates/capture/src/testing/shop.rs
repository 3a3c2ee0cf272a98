//! A shop in a database: customers, products, orders and their lines, and what happens.
//!
//! The same seed makes the same shop and the same changes, in transactions of 1 to 50
//! rows; some are rolled back. What a reader should have made of all that is asked of
//! SQL itself. For tests and measurements only: it panics.

use std::collections::BTreeMap;

use mysql_async::{Conn, prelude::Queryable};
use serde_json::{Value, json};

use super::MariaDb;

/// The tables, children first, as a snapshot for nested documents is best read.
pub const TABLES: [&str; 4] = ["products", "customers", "orderdetails", "orders"];

const SCHEMA: &str = "CREATE TABLE customers (
  customerNumber INT PRIMARY KEY, customerName VARCHAR(50) NOT NULL,
  contactLastName VARCHAR(50) NOT NULL, contactFirstName VARCHAR(50) NOT NULL,
  phone VARCHAR(50) NOT NULL, addressLine1 VARCHAR(50) NOT NULL, addressLine2 VARCHAR(50),
  city VARCHAR(50) NOT NULL, state VARCHAR(50), postalCode VARCHAR(15),
  country VARCHAR(50) NOT NULL, salesRepEmployeeNumber INT, creditLimit DECIMAL(10,2));
CREATE TABLE products (
  productCode VARCHAR(15) PRIMARY KEY, productName VARCHAR(70) NOT NULL,
  productLine VARCHAR(50) NOT NULL, productScale VARCHAR(10) NOT NULL,
  productVendor VARCHAR(50) NOT NULL, productDescription TEXT NOT NULL,
  quantityInStock SMALLINT NOT NULL, buyPrice DECIMAL(10,2) NOT NULL,
  MSRP DECIMAL(10,2) NOT NULL);
CREATE TABLE orders (
  orderNumber INT PRIMARY KEY, orderDate DATE NOT NULL, requiredDate DATE NOT NULL,
  shippedDate DATE, status VARCHAR(15) NOT NULL, comments TEXT, customerNumber INT NOT NULL,
  FOREIGN KEY (customerNumber) REFERENCES customers (customerNumber));
CREATE TABLE orderdetails (
  orderNumber INT, productCode VARCHAR(15), quantityOrdered INT NOT NULL,
  priceEach DECIMAL(10,2) NOT NULL, orderLineNumber SMALLINT NOT NULL,
  PRIMARY KEY (orderNumber, productCode),
  FOREIGN KEY (orderNumber) REFERENCES orders (orderNumber),
  FOREIGN KEY (productCode) REFERENCES products (productCode));
INSERT INTO customers SELECT 100 + seq, CONCAT('Customer ', seq, ', Ltd.'), 'Müller', 'Ann',
  '+49 30 1234', CONCAT(seq, ' Main Street'), IF(seq % 3, NULL, 'Level 2'), 'Nantes', NULL,
  '44000', 'France', 1370, seq * 100.5 FROM seq_1_to_122;
INSERT INTO products SELECT CONCAT('S', seq), CONCAT('Model \"', seq, '\"'), 'Trains', '1:18',
  CONCAT('Vendor ', seq % 9), 'A model.', 100, seq / 4, seq / 2 FROM seq_1_to_110;
INSERT INTO orders SELECT 10099 + seq, '2024-01-01' + INTERVAL seq DAY,
  '2024-01-10' + INTERVAL seq DAY, IF(seq % 5, '2024-01-05' + INTERVAL seq DAY, NULL),
  IF(seq % 5, 'Shipped', 'In Process'), NULL, 101 + seq * 7 % 122 FROM seq_1_to_326;
INSERT INTO orderdetails SELECT 10099 + o.seq, CONCAT('S', 1 + (o.seq * 13 + l.seq * 11) % 110),
  l.seq * 3, 20.05 + o.seq % 90, l.seq FROM seq_1_to_326 o, seq_1_to_9 l";

const STATUSES: [&str; 6] =
    ["In Process", "Shipped", "On Hold", "Disputed", "Resolved", "Cancelled"];

/// A shop in the database `shop` of a server.
#[derive(Debug)]
pub struct Shop {
    conn: Conn,
    chance: u64,
    /// The last number given to an order.
    last_order: u64,
    customers: Vec<u64>,
    products: Vec<String>,
}

/// What [`Shop::orders_by_sql`] answers, from rows as a reader has them: each with its
/// table's name, `shop.orders`. Panics where a row refers to none.
pub fn nest_orders<'a>(rows: impl IntoIterator<Item = (&'a str, Value)>) -> BTreeMap<u64, Value> {
    let (mut orders, mut lines) = (BTreeMap::new(), Vec::new());
    let (mut customers, mut products) = (BTreeMap::new(), BTreeMap::new());
    for (table, row) in rows {
        match table {
            "shop.orders" => drop(orders.insert(row["orderNumber"].as_u64().unwrap(), row)),
            "shop.orderdetails" => lines.push(row),
            "shop.customers" => drop(customers.insert(row["customerNumber"].to_string(), row)),
            "shop.products" => drop(products.insert(row["productCode"].to_string(), row)),
            other => panic!("table {other:?} is none of the shop's"),
        }
    }
    for order in orders.values_mut() {
        let customer = &customers[&order["customerNumber"].to_string()];
        order["customer"] = json!({ "customerName": customer["customerName"] });
        order["lines"] = json!([]);
    }
    lines.sort_by_key(|line| {
        (line["orderLineNumber"].as_u64(), line["productCode"].as_str().map(str::to_owned))
    });
    for mut line in lines {
        let product = &products[&line["productCode"].to_string()];
        let (name, vendor) = (&product["productName"], &product["productVendor"]);
        line["product"] = json!({ "productName": name, "productVendor": vendor });
        let order = orders.get_mut(&line["orderNumber"].as_u64().unwrap());
        let lines = order.expect("a line's order")["lines"].as_array_mut();
        lines.expect("lines").push(line);
    }
    orders
}

impl Shop {
    /// Makes the tables with 122 customers, 110 products, 326 orders and 2,934 lines.
    pub async fn create(server: &MariaDb, seed: u64) -> Self {
        server.execute(SCHEMA).await;
        Self::open(server, seed).await
    }

    /// Takes the shop of a dump of the tables, whose database has this name.
    pub async fn load(server: &MariaDb, dump: &str, database: &str, seed: u64) -> Self {
        server.execute(&dump.replace(&format!("`{database}`"), "`shop`")).await;
        Self::open(server, seed).await
    }

    /// Goes on with a shop that is there, with other changes.
    pub async fn open(server: &MariaDb, seed: u64) -> Self {
        let mut conn = server.conn().await;
        conn.query_drop("SET NAMES utf8mb4").await.expect("a character set");
        let last: Option<u64> =
            conn.query_first("SELECT MAX(orderNumber) FROM orders").await.expect("orders");
        let customers = conn.query("SELECT customerNumber FROM customers ORDER BY 1").await;
        let products = conn.query("SELECT productCode FROM products ORDER BY 1").await;
        Self {
            conn,
            chance: seed | 1,
            last_order: last.unwrap_or(10_099),
            customers: customers.expect("customers"),
            products: products.expect("products"),
        }
    }

    /// Inserts, updates and deletes at least `rows` rows in transactions of 1 to 50 rows;
    /// answers how many transactions were committed.
    pub async fn change(&mut self, rows: u64) -> u64 {
        expect(self.try_change(rows).await)
    }

    /// As [`Shop::change`], on a server that may go away in the middle.
    ///
    /// # Errors
    /// When the server is gone; whether the last transaction was committed is unknown.
    pub async fn try_change(&mut self, rows: u64) -> mysql_async::Result<u64> {
        let (mut changed, mut committed) = (0, 0);
        while changed < rows {
            let size = 1 + self.below(50).min(rows - changed);
            self.run("BEGIN").await?;
            let mut here = 0;
            while here < size {
                here += self.act(size - here).await?;
            }
            if self.below(20) == 0 {
                self.run("ROLLBACK").await?;
            } else {
                self.run("COMMIT").await?;
                (changed, committed) = (changed + here, committed + 1);
            }
        }
        Ok(committed)
    }

    /// Orders something, as the shop's form does: the order and its lines in one
    /// transaction; answers the order's number.
    pub async fn order(&mut self, lines: u64) -> u64 {
        expect(self.run("BEGIN").await);
        expect(self.insert_order(lines).await);
        expect(self.run("COMMIT").await);
        self.last_order
    }

    /// Orders by number as SQL nests them: all columns of `orders`; `customer` with its
    /// name; `lines` by line number and product, each with all columns of `orderdetails`
    /// and `product` with name and vendor. Decimals are text, dates ISO.
    pub async fn orders_by_sql(&mut self) -> BTreeMap<u64, Value> {
        const ORDERS: &str = "SELECT o.orderNumber, JSON_OBJECT(
            'orderNumber', o.orderNumber, 'orderDate', o.orderDate,
            'requiredDate', o.requiredDate, 'shippedDate', o.shippedDate, 'status', o.status,
            'comments', o.comments, 'customerNumber', o.customerNumber,
            'customer', JSON_OBJECT('customerName', c.customerName))
            FROM orders o JOIN customers c USING (customerNumber)";
        const LINES: &str = "SELECT d.orderNumber, JSON_OBJECT(
            'orderNumber', d.orderNumber, 'productCode', d.productCode,
            'quantityOrdered', d.quantityOrdered, 'priceEach', CAST(d.priceEach AS CHAR),
            'orderLineNumber', d.orderLineNumber, 'product', JSON_OBJECT(
                'productName', p.productName, 'productVendor', p.productVendor))
            FROM orderdetails d JOIN products p USING (productCode)
            ORDER BY d.orderNumber, d.orderLineNumber, d.productCode";
        let read = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
        // Both as they are at one moment.
        expect(self.run("START TRANSACTION WITH CONSISTENT SNAPSHOT").await);
        let orders: Vec<(u64, String)> = self.conn.query(ORDERS).await.expect("orders");
        let lines: Vec<(u64, String)> = self.conn.query(LINES).await.expect("lines");
        expect(self.run("COMMIT").await);
        let order = |(number, text): (u64, String)| {
            let mut order = read(text);
            order["lines"] = Value::Array(Vec::new());
            (number, order)
        };
        let mut orders: BTreeMap<u64, Value> = orders.into_iter().map(order).collect();
        for (number, line) in lines {
            let lines = orders.get_mut(&number).and_then(|order| order["lines"].as_array_mut());
            lines.expect("a line's order").push(read(line));
        }
        orders
    }

    /// The customers' numbers, in their order.
    pub fn customers(&self) -> &[u64] {
        &self.customers
    }

    /// The products' codes, in their order.
    pub fn products(&self) -> &[String] {
        &self.products
    }

    /// One thing that happens; answers how many rows it changed, at least 1 and rarely
    /// more than `rows`.
    async fn act(&mut self, rows: u64) -> mysql_async::Result<u64> {
        let order = self.some_order();
        let first = self.below(self.products.len() as u64);
        let (product, customer) = (self.product(first), self.some_customer());
        let number = self.below(100_000);
        let statement = match self.below(12) {
            0..=2 => {
                let lines = self.below(rows.min(12));
                return self.insert_order(lines).await;
            }
            3 => {
                let lines = format!("DELETE FROM orderdetails WHERE orderNumber = {order}");
                let lines = self.run(&lines).await?;
                let order = format!("DELETE FROM orders WHERE orderNumber = {order}");
                return Ok((lines + self.run(&order).await?).max(1));
            }
            4 | 5 => {
                let status = STATUSES[self.below(6) as usize];
                format!(
                    "UPDATE orders SET status = '{status}', shippedDate = '2025-02-03', \
                     comments = 'größer \\\"{number}\\\"' WHERE orderNumber = {order}"
                )
            }
            6 => {
                format!("UPDATE orders SET customerNumber = {customer} WHERE orderNumber = {order}")
            }
            7 => format!(
                "UPDATE IGNORE orderdetails SET productCode = '{product}' \
                 WHERE orderNumber = {order} ORDER BY orderLineNumber LIMIT 1"
            ),
            8 => format!(
                "UPDATE orderdetails SET quantityOrdered = quantityOrdered + 1, \
                 priceEach = {number} / 100 WHERE orderNumber = {order} LIMIT 3"
            ),
            9 => format!("DELETE FROM orderdetails WHERE orderNumber = {order} LIMIT 1"),
            10 => format!(
                "UPDATE products SET productName = 'Model {number}', \
                 quantityInStock = {number} % 1000 WHERE productCode = '{product}'"
            ),
            _ => format!(
                "UPDATE customers SET customerName = 'Customer {number}' \
                 WHERE customerNumber = {customer}"
            ),
        };
        Ok(self.run(&statement).await?.max(1))
    }

    /// Inserts the next order and its lines; answers the number of rows.
    async fn insert_order(&mut self, lines: u64) -> mysql_async::Result<u64> {
        self.last_order += 1;
        let (order, customer) = (self.last_order, self.some_customer());
        let insert = format!(
            "INSERT INTO orders VALUES ({order}, '2025-01-02', '2025-01-09', NULL, \
             'In Process', NULL, {customer})"
        );
        let mut rows = self.run(&insert).await?;
        let count = self.products.len() as u64;
        let first = self.below(count);
        for line in 1..=lines.min(count) {
            let (product, quantity) = (self.product(first + line), 1 + self.below(90));
            let insert = format!(
                "INSERT INTO orderdetails VALUES ({order}, '{product}', {quantity}, \
                 {quantity} + 0.5, {line})"
            );
            rows += self.run(&insert).await?;
        }
        Ok(rows)
    }

    /// A product by its place, counted around.
    fn product(&self, place: u64) -> String {
        self.products[(place % self.products.len() as u64) as usize].clone()
    }

    fn some_customer(&mut self) -> u64 {
        let place = self.below(self.customers.len() as u64);
        self.customers[place as usize]
    }

    fn some_order(&mut self) -> u64 {
        10_100 + self.below(self.last_order.saturating_sub(10_099).max(1))
    }

    /// Runs a statement; answers how many rows it changed.
    /// Panics where the server refuses it.
    async fn run(&mut self, statement: &str) -> mysql_async::Result<u64> {
        match self.conn.query_drop(statement).await {
            Err(mysql_async::Error::Server(said)) if !is_going(&said) => {
                panic!("{statement}: {said}")
            }
            done => done.map(|()| self.conn.affected_rows()),
        }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % bound.max(1)
    }
}

/// Whether a server's error only says that it ends.
const fn is_going(said: &mysql_async::ServerError) -> bool {
    matches!(said.code, 1053 | 1077 | 1079 | 1927)
}

fn expect<T>(done: mysql_async::Result<T>) -> T {
    done.expect("the shop's server is there")
}
