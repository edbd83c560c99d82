// What the chart of the pages about money says: amounts and the rows of its table.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readRows } from "../../static/js/money.js";

test("rows of the table become dollars and counts", () => {
  const dataset = { label: "1 Mar", paid: "1500000000", covered: "0", calls: "3", unknown: "1" };
  assert.deepEqual(readRows([{ dataset }]), [
    { label: "1 Mar", paid: 1.5, covered: 0, calls: 3, unknown: 1 },
  ]);
});
