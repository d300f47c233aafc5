-- The newest one-minute candles of one market, newest first.
-- $1 source, $2 coin_id, $3 quote, $4 only candles that start before this time (µs), $5 at most so many
SELECT epoch_us(window_start), epoch_us(window_end), open_price, max_price, min_price, close_price, avg_price, volume, tick_count
FROM {gold}
WHERE source = $1 AND coin_id = $2 AND quote = $3 AND epoch_us(window_start) < $4
ORDER BY window_start DESC
LIMIT $5
