-- The markets in each gold file: number of candles, start of the oldest and of the newest.
SELECT filename, source, coin_id, quote, count(*), epoch_us(min(window_start)), epoch_us(max(window_start))
FROM {gold}
GROUP BY ALL
