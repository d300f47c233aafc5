-- The newest candles of one market in buckets of $6 µs that are aligned to the epoch, newest first.
-- $1 source, $2 coin_id, $3 quote, $4 only candles that start before this time (µs), $5 at most so many
-- Sums run in time order, so that results are the same to the last bit every time. A mean is kept between the lowest and the highest
-- price, and its sum is scaled by a power of two so that it does not overflow.
SELECT
    bucket,
    bucket + $6,
    arg_min(open_price, window_start),
    max(max_price),
    min(min_price),
    arg_max(close_price, window_start),
    greatest(min(min_price), least(max(max_price),
        sum(avg_price / pow(2, 64) * tick_count ORDER BY window_start) / sum(tick_count) * pow(2, 64))),
    sum(volume ORDER BY window_start),
    sum(tick_count)::BIGINT
FROM (
    SELECT *, epoch_us(window_start) - epoch_us(window_start) % $6 AS bucket
    FROM {gold}
    WHERE source = $1 AND coin_id = $2 AND quote = $3
)
WHERE bucket < $4
GROUP BY bucket
ORDER BY bucket DESC
LIMIT $5
