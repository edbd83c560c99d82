// What the chart of the pages about money says: amounts and the rows of its table.

import assert from "node:assert/strict";
import { test } from "node:test";

import { readRows, writeDollars } from "../../static/js/money.js";

test("amounts have cents, and more digits only where they matter", () => {
  const written = [0, 12.5, 1234.567, 0.12, 0.0031, 0.00006, 1e-9, -2.5, 0.01];
  assert.deepEqual(written.map(writeDollars), [
    "$0", "$12.50", "$1234.57", "$0.12", "$0.0031", "$0.00006", "$0.000000001", "-$2.50",
    "$0.01",
  ]);
});

test("rows of the table become dollars and counts", () => {
  const dataset = { label: "1 Mar", paid: "1500000000", covered: "0", calls: "3", unknown: "1" };
  assert.deepEqual(readRows([{ dataset }]), [
    { label: "1 Mar", paid: 1.5, covered: 0, calls: 3, unknown: 1 },
  ]);
});
