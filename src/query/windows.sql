-- The windows of one source in one currency in a range of time.
-- $4 quote, $1 source, $2 from (µs, inclusive), $3 to (µs, exclusive)
SELECT coin_id, epoch_us(window_start)
FROM {gold}
WHERE source = $1 AND quote = $4 AND epoch_us(window_start) >= $2 AND epoch_us(window_start) < $3
