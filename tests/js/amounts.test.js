// Amounts in the page are written as the server writes them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { writeDollars } from "../../static/js/amounts.js";

test("amounts have cents, and more digits only where they matter", () => {
  const written = [0, 12.5, 1234.567, 0.12, 0.0031, 0.00006, 1e-9, -2.5, 0.01];
  assert.deepEqual(written.map(writeDollars), [
    "$0.00", "$12.50", "$1234.57", "$0.12", "$0.0031", "$0.00006", "$0.000000001", "-$2.50",
    "$0.01",
  ]);
});

test("they are rounded as in tests/channels_app/web/test_money_amounts.py", () => {
  const written = [0.003105, 0.123456789, 1.005, 0.009999999, 0.000125, 0.999999999];
  assert.deepEqual(written.map(writeDollars), [
    "$0.00311", "$0.123", "$1.01", "$0.01", "$0.000125", "$1.00",
  ]);
});
