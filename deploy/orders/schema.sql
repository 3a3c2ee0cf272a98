-- The tables that the example `orders` captures, and two rights: what Courant needs to
-- follow the binary log, and what its form needs to write orders.
CREATE DATABASE IF NOT EXISTS classicmodels CHARACTER SET utf8mb4;
USE classicmodels;

CREATE TABLE IF NOT EXISTS customers (
  customerNumber int NOT NULL PRIMARY KEY,
  customerName varchar(50) NOT NULL,
  contactLastName varchar(50) NOT NULL,
  contactFirstName varchar(50) NOT NULL,
  phone varchar(50) NOT NULL,
  addressLine1 varchar(50) NOT NULL,
  addressLine2 varchar(50),
  city varchar(50) NOT NULL,
  state varchar(50),
  postalCode varchar(15),
  country varchar(50) NOT NULL,
  salesRepEmployeeNumber int,
  creditLimit decimal(10,2)
);

CREATE TABLE IF NOT EXISTS products (
  productCode varchar(15) NOT NULL PRIMARY KEY,
  productName varchar(70) NOT NULL,
  productLine varchar(50) NOT NULL,
  productScale varchar(10) NOT NULL,
  productVendor varchar(50) NOT NULL,
  productDescription text NOT NULL,
  quantityInStock smallint NOT NULL,
  buyPrice decimal(10,2) NOT NULL,
  MSRP decimal(10,2) NOT NULL
);

CREATE TABLE IF NOT EXISTS orders (
  orderNumber int NOT NULL PRIMARY KEY,
  orderDate date NOT NULL,
  requiredDate date NOT NULL,
  shippedDate date,
  status varchar(15) NOT NULL DEFAULT 'In Process',
  comments text,
  customerNumber int NOT NULL,
  KEY (customerNumber),
  FOREIGN KEY (customerNumber) REFERENCES customers (customerNumber)
);

CREATE TABLE IF NOT EXISTS orderdetails (
  orderNumber int NOT NULL,
  productCode varchar(15) NOT NULL,
  quantityOrdered int NOT NULL,
  priceEach decimal(10,2) NOT NULL,
  orderLineNumber smallint NOT NULL,
  PRIMARY KEY (orderNumber, productCode),
  KEY (productCode),
  FOREIGN KEY (orderNumber) REFERENCES orders (orderNumber),
  FOREIGN KEY (productCode) REFERENCES products (productCode)
);

INSERT IGNORE INTO customers
  (customerNumber, customerName, contactLastName, contactFirstName, phone, addressLine1, city, country, creditLimit)
VALUES
  (101, 'Northern Toys', 'Berg', 'Ida', '+47 555 0101', 'Havnegata 1', 'Bergen', 'Norway', 21000.00),
  (102, 'Casa do Modelo', 'Pires', 'Rui', '+351 555 0102', 'Rua Nova 8', 'Porto', 'Portugal', 54000.00),
  (103, 'Little Engines', 'Moss', 'Ann', '+44 555 0103', '4 Mill Lane', 'Leeds', 'United Kingdom', 8500.00);

INSERT IGNORE INTO products VALUES
  ('S10_0001', 'Steam tram, 1910', 'Trains', '1:10', 'Brassworks', 'A tram with its driver.', 120, 41.20, 79.90),
  ('S18_0002', 'Delivery van, 1955', 'Vans', '1:18', 'Tin and Sons', 'Doors that open.', 340, 22.10, 44.50),
  ('S24_0003', 'Fishing cutter', 'Ships', '1:24', 'Harbour Models', 'With nets and lamps.', 85, 60.00, 119.00);

GRANT SELECT, INSERT, UPDATE, DELETE ON classicmodels.* TO 'courant'@'%';
GRANT REPLICATION SLAVE, REPLICATION CLIENT ON *.* TO 'courant'@'%';
