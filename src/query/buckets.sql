-- How many candles of a width of $4 µs one market has on each day.
-- $1 source, $2 coin_id, $3 quote
SELECT strftime(make_timestamp(bucket * $4), '%Y-%m-%d') AS day, count(*)
FROM (
    SELECT DISTINCT epoch_us(window_start) // $4 AS bucket
    FROM {gold}
    WHERE source = $1 AND coin_id = $2 AND quote = $3
)
GROUP BY day
