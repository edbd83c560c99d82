/** How amounts are written: as `write_amount` of `money_amounts.py` writes them. */

const NANO_PER_USD = 1e9;

/**
 * Write dollars with cents, and with more digits where an amount is smaller.
 *
 * @param {number} dollars
 * @returns {string} such as `$12.50`, `$0.0031` or `$0.00`
 */
export function writeDollars(dollars) {
  if (!dollars) return "$0.00";
  const nano = Math.round(Math.abs(dollars) * NANO_PER_USD);
  let digits = 2;
  while (digits < 9 && nano < 10 ** (11 - digits)) digits += 1;
  const unit = 10 ** (9 - digits);
  const units = Math.floor((nano + Math.floor(unit / 2)) / unit);
  const [whole, part] = (units / 10 ** digits).toFixed(digits).split(".");
  const sign = dollars < 0 ? "-" : "";
  return `${sign}$${whole}.${part.replace(/0+$/, "").padEnd(2, "0")}`;
}
