// Specifications to start from: one idea each, on the data of a shop.

import type { Trial } from "./jolt";

export interface Sample extends Trial {
  name: string;
}

const json = (value: unknown) => JSON.stringify(value, null, 2);

const order = {
  orderNumber: 10425,
  orderDate: "2026-01-31",
  status: "In Process",
  customer: { customerNumber: 119, customerName: "La Rochelle Gifts", city: "Nantes" },
  lines: [
    { productCode: "S10_4962", quantityOrdered: 38, priceEach: 131.49 },
    { productCode: "S12_4473", quantityOrdered: 33, priceEach: 95.99 },
  ],
};

/** Where a visitor begins. */
export const first: Sample = {
  name: "Rename and move",
  spec: `[
  // The left side is matched,
  // the right side is written.
  {
    "operation": "shift",
    "spec": {
      "orderNumber": "order.id",
      "status": "order.state",
      "customer": {
        "customerNumber": "order.customer.id",
        "customerName": "order.customer.name"
      }
    }
  }
]`,
  input: json(order),
  context: "",
};

export const samples: Sample[] = [
  first,
  {
    name: "Lists",
    spec: `[
  {
    "operation": "shift",
    "spec": {
      "lines": {
        // "*" is each line; &1 is its index, one level up.
        "*": {
          "productCode": "items[&1].sku",
          "quantityOrdered": "items[&1].quantity",
          // A value from two levels up: of the order.
          "@(2,orderNumber)": "items[&1].order"
        }
      }
    }
  }
]`,
    input: json(order),
    context: "",
  },
  {
    name: "Group by a field",
    spec: `[
  // Each visit goes into the list of its page.
  {
    "operation": "shift",
    "spec": { "*": { "@": "@(1,page)[]" } }
  },
  { "operation": "remove", "spec": { "*": { "*": { "page": "" } } } },
  { "operation": "sort" }
]`,
    input: json([
      { page: "home", user: "ada", seconds: 12 },
      { page: "basket", user: "ada", seconds: 40 },
      { page: "home", user: "kurt", seconds: 7 },
    ]),
    context: "",
  },
  {
    name: "Keys as data",
    spec: `[
  // "$" writes the key itself, "#2" counts the matches.
  {
    "operation": "shift",
    "spec": {
      "prices": {
        "*": { "$": "rows[#2].product", "@": "rows[#2].price", "#EUR": "rows[#2].currency" }
      }
    }
  }
]`,
    input: json({ prices: { tea: 4.5, salt: 1, coffee: 12.9 } }),
    context: "",
  },
  {
    name: "Compute",
    spec: `[
  {
    "operation": "modify-overwrite-beta",
    "spec": {
      "name": "=concat(@(1,first),' ',@(1,last))",
      "initial": "=substring(@(1,first),0,1)",
      "total": "=doubleSum(@(1,prices))",
      "largest": "=max(@(1,prices))",
      "count": "=size(@(1,prices))",
      // The context's.
      "shop": "^shop"
    }
  }
]`,
    input: json({ first: "Ada", last: "Lovelace", prices: [4.5, 1, 12.25] }),
    context: json({ shop: "north" }),
  },
  {
    name: "Defaults and clean-up",
    spec: `[
  { "operation": "default", "spec": { "status": "new", "lines[]": { "*": { "quantity": 1 } } } },
  { "operation": "remove", "spec": { "internal": "", "*_tmp": "" } },
  { "operation": "cardinality", "spec": { "tags": "MANY", "phones": "ONE" } },
  { "operation": "sort" }
]`,
    input: json({
      id: 7,
      internal: true,
      x_tmp: 1,
      tags: "gift",
      phones: ["+33 1", "+33 2"],
      lines: [{ sku: "A-1" }, { sku: "B-2", quantity: 3 }],
    }),
    context: "",
  },
];
