-- The newest alerts by their candles, newest first.
-- $1 at most so many
SELECT
    alert_id, rule, source, coin_id, quote, epoch_us(window_start), epoch_us(window_end),
    avg_price, min_price, max_price, volatility, threshold, epoch_us("timestamp")
FROM {alerts}
ORDER BY window_start DESC, "timestamp" DESC, source, coin_id, quote
LIMIT $1
