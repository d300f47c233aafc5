-- The market table of one source. Every market is measured from its own newest candle.
-- $1 source, $2 the newest window of the source (µs)
-- A change is against the close of the window that long before; where that one is missing, against one a little older: up to a minute for
-- the change over a minute, ten minutes for an hour, an hour for a day. The change over a day is the source's own where it gave one with
-- the last tick of the newest candle: that of any other tick belongs to another price.
WITH recent AS (
    SELECT * REPLACE (window_start::TIMESTAMP AS window_start), max(window_start::TIMESTAMP) OVER (PARTITION BY coin_id, quote) AS newest
    FROM {gold}
    WHERE source = $1 AND window_start::TIMESTAMP >= make_timestamp($2) - INTERVAL 25 HOUR
),
measured AS (
    SELECT
        coin_id,
        quote,
        arg_max(close_price, window_start) AS price,
        epoch_us(arg_max(last_event_time, window_start)) AS event_time,
        arg_max(close_price, window_start) FILTER (WHERE window_start BETWEEN newest - INTERVAL 2 MINUTE AND newest - INTERVAL 1 MINUTE) AS price_1m,
        arg_max(close_price, window_start) FILTER (WHERE window_start BETWEEN newest - INTERVAL 70 MINUTE AND newest - INTERVAL 60 MINUTE) AS price_1h,
        arg_max(close_price, window_start) FILTER (WHERE window_start BETWEEN newest - INTERVAL 25 HOUR AND newest - INTERVAL 24 HOUR) AS price_24h,
        arg_max(volatility_pct, window_start) AS volatility_1m,
        max(max_price) FILTER (WHERE window_start > newest - INTERVAL 1 HOUR) AS high_1h,
        min(min_price) FILTER (WHERE window_start > newest - INTERVAL 1 HOUR) AS low_1h,
        sum(volume ORDER BY window_start) FILTER (WHERE window_start > newest - INTERVAL 24 HOUR) AS volume_24h,
        list(close_price ORDER BY window_start) FILTER (WHERE window_start > newest - INTERVAL 1 HOUR) AS closes
    FROM recent
    GROUP BY coin_id, quote
),
reported AS (
    SELECT
        coin_id,
        quote,
        arg_max(ticks.symbol, ticks.event_time) AS symbol,
        arg_max(ticks.volume_24h, ticks.event_time) AS value_24h,
        max(ticks.price_change_pct_24h) FILTER (WHERE epoch_us(ticks.event_time) = measured.event_time AND ticks.price = measured.price) AS change_24h
    FROM {silver} AS ticks
    JOIN measured USING (coin_id, quote)
    WHERE ticks.source = $1
    GROUP BY coin_id, quote
)
SELECT
    coin_id,
    quote,
    symbol,
    price,
    event_time,
    (price - price_1m) / price_1m * 100,
    price_1h,
    price_24h,
    change_24h,
    volatility_1m,
    (high_1h - low_1h) / low_1h * 100,
    coalesce(measured.volume_24h, value_24h / price),
    closes
FROM measured
LEFT JOIN reported USING (coin_id, quote)
ORDER BY coin_id, quote
