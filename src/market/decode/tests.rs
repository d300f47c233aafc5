use chrono::DateTime;
use proptest::prelude::*;

use super::*;

const NOW: Micros = 1_800_000_000_000_000;

fn decode_keyed(value: &str, key: Option<&str>, headers: Option<&str>) -> (Ticks, Vec<Reject>) {
    let record =
        RecordRef { offset: 7, key, value: value.as_bytes(), source: "replay", headers, produced_at: 0 };
    Decoder::default().decode_all(1, std::iter::once((record, NOW)))
}

fn one(value: &str) -> (Market, Tick) {
    let (ticks, rejects) = decode_keyed(value, None, None);
    assert_eq!(rejects, [], "{value}");
    ((**ticks.market(&ticks.ticks[0])).clone(), ticks.ticks[0].clone())
}

fn reason(value: &str) -> &'static str {
    let (ticks, rejects) = decode_keyed(value, None, None);
    assert_eq!(ticks.ticks, [], "{value}");
    assert_eq!(rejects.len(), 1, "{value}");
    rejects[0].reason.text()
}

#[test]
fn all_spellings_of_a_tick_give_the_same_tick() {
    let (market, tick) = one(
        r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0.0,"event_time":"2025-05-12T00:00:00.000Z","trade_id":10}"#,
    );
    assert_eq!(market, Market::new("binance", "bitcoin", "usd"));
    assert_eq!((tick.event_time, tick.price, tick.size), (1_747_008_000_000_000, 104_072.7, Some(0.0)));
    for other in [
        r#" {"source":"binance","id":" Bitcoin ","current_price":"104072.7","size":"0","last_updated":"2025-05-12T00:00:00+00:00","trade_id":"10","quote":"USD"}"#,
        r#"{"source":"binance","coin_id":null,"id":"BITCOIN","price":1.040727e5,"size":0,"timestamp":1747008000,"trade_id":10,"unknown":{"nested":[1,null]}}"#,
        r#"{"price":1,"source":"binance","c\u006fin_id":"bitcoin","price":104072.7,"size":0.0,"event_time":1747008000.0,"trade_id":10}"#,
        r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0,"event_time":1747008000000,"trade_id":10}"#,
        r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0,"event_time":"1747008000000000","trade_id":10}"#,
        r#"{"source":"binance","coin_id":"bitcoin","price":104072.7,"size":0,"event_time":"2025-05-12T02:00:00+02:00","trade_id":10}"#,
    ] {
        let (m, t) = one(other);
        assert_eq!(
            (m, t.event_time, t.price, t.size, t.trade_id),
            (market.clone(), tick.event_time, tick.price, tick.size, tick.trade_id.clone()),
            "{other}"
        );
    }
}

#[test]
fn a_message_of_the_old_producer_is_a_tick() {
    let (market, tick) =
        one(r#"{"timestamp": 1747008000.123456, "coin_id": "solana", "price": 173.07, "volume_24h": 12}"#);
    assert_eq!(market, Market::new("replay", "solana", "usd"));
    assert_eq!(tick.event_time, 1_747_008_000_123_456);
    assert_eq!(tick.details.and_then(|d| d.volume_24h), Some(12.0));
}

#[test]
fn every_invalid_record_has_its_reason() {
    for (value, expected) in [
        ("", "blank"),
        (" \r", "blank"),
        ("{", "not JSON"),
        ("<html>", "not JSON"),
        ("[]", "not an object"),
        ("null", "not an object"),
        (r#"{"coin_id":" ","price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
        (r#"{"coin_id":["bitcoin"],"price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
        (r#"{"price":1,"event_time":"2025-05-12T00:00:00Z"}"#, "coin_id missing"),
        (r#"{"coin_id":"b"}"#, "price missing"),
        (r#"{"coin_id":"b","price":true}"#, "price missing"),
        (r#"{"coin_id":"b","price":"n/a"}"#, "price is no number"),
        (r#"{"coin_id":"b","price":[1]}"#, "price is no number"),
        (r#"{"coin_id":"b","price":1e400}"#, "price not finite"),
        (r#"{"coin_id":"b","price":"NaN"}"#, "price not finite"),
        (r#"{"coin_id":"b","price":-1}"#, "price not positive"),
        (r#"{"coin_id":"b","price":1}"#, "event_time missing"),
        (r#"{"coin_id":"b","price":1,"event_time":"yesterday"}"#, "event_time does not parse"),
        (r#"{"coin_id":"b","price":1,"event_time":"2025-05-12T00:00:00"}"#, "event_time does not parse"),
        (r#"{"coin_id":"b","price":1,"event_time":"1999-01-01T00:00:00Z"}"#, "event_time out of range"),
        (r#"{"coin_id":"b","price":1,"event_time":1800000301}"#, "event_time out of range"),
        (r#"{"coin_id":"b","price":1,"event_time":1747008000,"size":"x"}"#, "size is no finite number"),
        (r#"{"prices":[]}"#, "coin_id missing"),
    ] {
        assert_eq!(reason(value), expected, "{value}");
    }
    one(r#"{"coin_id":"b","price":1,"event_time":1800000300}"#);
    let record =
        RecordRef { offset: 0, key: None, value: b"\xff{}", source: "x", headers: None, produced_at: 0 };
    assert_eq!(Decoder::default().decode_all(1, std::iter::once((record, NOW))).1[0].reason, Reason::NotUtf8);
}

#[test]
fn a_history_gives_ticks_only_in_its_range() {
    let value = r#"{"prices":[[1747008000000,1.5],[1747008300000,2.5],[1747008600000,null],[1747008900000,9]],
                    "market_caps":[[1747008000000,10],[1747008300000,20]],"total_volumes":[[1747008000000,null],[1747008300000,7.5]]}"#;
    let headers = r#"{"fill_from":1747008300000000,"fill_to":1747008900000000,"quote":"eur"}"#;
    let (ticks, rejects) = decode_keyed(value, Some("Bitcoin"), Some(headers));
    assert_eq!(**ticks.market(&ticks.ticks[0]), Market::new("replay", "bitcoin", "eur"));
    assert_eq!(ticks.ticks.iter().map(|t| (t.index, t.price)).collect::<Vec<_>>(), [(1, 2.5)]);
    assert_eq!(
        ticks.ticks[0].details.as_ref().map(|d| (d.market_cap, d.volume_24h)),
        Some((Some(20.0), Some(7.5)))
    );
    assert_eq!(rejects, [Reject { offset: 7, index: 2, reason: Reason::PriceMissing }]);
    assert_eq!(decode_keyed(r#"{"prices":[]}"#, Some("bitcoin"), None).1[0].reason, Reason::NoTicks);
    assert_eq!(decode_keyed(value, Some("bitcoin"), None).0.ticks.len(), 3);
}

#[test]
fn a_currency_in_the_headers_counts_where_the_value_has_none() {
    let tick = r#"{"coin_id":"b","price":1,"event_time":1747008000}"#;
    let stated = r#"{"coin_id":"b","price":1,"event_time":1747008000,"quote":"Btc"}"#;
    let null = r#"{"coin_id":"b","price":1,"event_time":1747008000,"quote":null}"#;
    let mut decoder = Decoder::default();
    let mut quote = |value: &str, headers| {
        let record =
            RecordRef { offset: 0, key: None, value: value.as_bytes(), source: "s", headers, produced_at: 0 };
        let (ticks, rejects) = decoder.decode_all(1, std::iter::once((record, NOW)));
        assert_eq!(rejects, []);
        ticks.market(&ticks.ticks[0]).quote.to_string()
    };
    for _ in 0..2 {
        assert_eq!(
            [quote(tick, Some(r#"{"quote":"EUR"}"#)), quote(null, Some(r#"{"quote":"EUR"}"#))],
            ["eur", "eur"]
        );
        assert_eq!([quote(tick, None), quote(stated, Some(r#"{"quote":"EUR"}"#))], ["usd", "btc"]);
        for odd in ["{}", "[]", "", "{", r#"{"quote":7}"#, r#"{"quote":null}"#] {
            assert_eq!(quote(tick, Some(odd)), "usd", "{odd}");
        }
    }
}

#[test]
fn names_with_control_characters_or_too_many_bytes_are_rejected() {
    let decode = |source: &str, key: &str, headers: &str, value: &serde_json::Value| {
        let value = value.to_string();
        let record = RecordRef {
            offset: 0,
            key: Some(key),
            value: value.as_bytes(),
            source,
            headers: Some(headers),
            produced_at: 0,
        };
        Decoder::default().decode_all(1, std::iter::once((record, NOW))).1.first().map(|reject| reject.reason)
    };
    let sound = |name: &str| {
        let value = serde_json::json!({ "price": 1, "event_time": 1_747_008_000 });
        let with = |field: &str| {
            let mut value = value.clone();
            value["coin_id"] = "b".into();
            value[field] = name.into();
            decode("s", "b", "{}", &value)
        };
        [
            with("coin_id"),
            with("id").or(with("coin_id")),
            with("source"),
            with("quote"),
            with("symbol"),
            decode("s", name, "{}", &value),
            decode(name, "b", "{}", &value),
            decode("s", "b", &serde_json::json!({ "quote": name }).to_string(), &value),
        ]
    };
    assert_eq!(sound(&"x".repeat(256)), [None; 8]);
    assert_eq!(sound("naïve coin 🪙"), [None; 8]);
    assert_eq!(sound(&"x".repeat(257)), [Some(Reason::NameTooLong); 8]);
    for name in ["a\0b", "a\u{1b}[31m", "a\u{7f}b", "a\u{85}b"] {
        assert_eq!(sound(name), [Some(Reason::NameHasControls); 8], "{name:?}");
    }
    one("{\"coin_id\":\"\\tbitcoin\\n\",\"price\":1,\"event_time\":1747008000}");
}

#[test]
fn names_that_are_equal_when_joined_are_different_markets() {
    let mut decoder = Decoder::default();
    for (source, coin) in [("ab", "c"), ("a", "bc"), ("", "abc"), ("abc", "usd")] {
        let value =
            format!(r#"{{"source":"{source}","coin_id":"{coin}","price":1,"event_time":1747008000}}"#);
        let record = RecordRef {
            offset: 0,
            key: None,
            value: value.as_bytes(),
            source: "s",
            headers: None,
            produced_at: 0,
        };
        let (ticks, _) = decoder.decode_all(1, std::iter::once((record, NOW)));
        assert_eq!(**ticks.market(&ticks.ticks[0]), Market::new(source, coin, "usd"));
    }
    assert_eq!(decoder.markets().len(), 4);
}

#[test]
fn trade_ids_beyond_64_bits_keep_every_digit() {
    let id = |raw: &str| {
        one(&format!(r#"{{"coin_id":"b","price":1,"event_time":1747008000,"trade_id":{raw}}}"#))
            .1
            .trade_id
            .unwrap()
    };
    assert_eq!(id("300000000000000000000000003"), id("\"300000000000000000000000003\""));
    assert!(id("300000000000000000000000003").sequence() > id("300000000000000000000000002").sequence());
    assert!(id("9223372036854775808").sequence() > id("9223372036854775807").sequence());
    assert_eq!([id("1e20").sequence(), id("1.0").sequence()], [None, None]);
}

/// The ticks of a record with their markets, and its rejects.
fn decoded(decoder: &mut Decoder, record: RecordRef<'_>) -> (Vec<(Arc<Market>, Tick)>, Vec<Reject>) {
    let (ticks, rejects) = decoder.decode_all(1, std::iter::once((record, NOW)));
    let named = ticks
        .ticks
        .iter()
        .map(|tick| (Arc::clone(ticks.market(tick)), Tick { market: 0, ..tick.clone() }))
        .collect();
    (named, rejects)
}

/// A record whose value, key, source and headers may each be malformed.
#[derive(Debug, Clone)]
struct Odd {
    value: Vec<u8>,
    key: Option<String>,
    source: String,
    headers: Option<String>,
}

impl Odd {
    fn record(&self) -> RecordRef<'_> {
        let (key, headers) = (self.key.as_deref(), self.headers.as_deref());
        RecordRef { offset: 7, key, value: &self.value, source: &self.source, headers, produced_at: 0 }
    }
}

/// Raw JSON of all kinds, and text that is not JSON.
fn json() -> impl Strategy<Value = String> {
    const FIXED: &[&str] = &[
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"bitcoin\"",
        "\"a\\u0000b\"",
        "\"\\ud83d\"",
        "1e400",
        "-0",
        "NaN",
        "1747008000",
        "\"2025-05-12T00:00:00Z\"",
    ];
    prop_oneof![
        prop::sample::select(FIXED).prop_map(str::to_owned),
        any::<f64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        "\\PC{0,12}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        "\\PC{0,6}",
    ]
}

fn odd() -> impl Strategy<Value = Odd> {
    const NAMES: &[&str] = &[
        "coin_id",
        "id",
        "price",
        "event_time",
        "size",
        "trade_id",
        "source",
        "quote",
        "symbol",
        "prices",
        "total_volumes",
        "x",
    ];
    let object = prop::collection::vec((prop::sample::select(NAMES), json()), 0..10).prop_map(|fields| {
        format!(
            "{{{}}}",
            fields.iter().map(|(name, raw)| format!("\"{name}\":{raw}")).collect::<Vec<_>>().join(",")
        )
    });
    let history = prop::collection::vec(json(), 0..8)
        .prop_map(|points| format!(r#"{{"id":"b","prices":[{}]}}"#, points.join(",")));
    let value = prop_oneof![
        any::<Vec<u8>>(),
        object.prop_map(String::into_bytes),
        history.prop_map(String::into_bytes)
    ];
    let text = || prop_oneof![Just("bitcoin".to_owned()), any::<String>()];
    let headers = prop_oneof![
        Just(None),
        Just(Some(r#"{"quote":"eur","fill_from":5}"#.to_owned())),
        any::<Option<String>>()
    ];
    (value, prop::option::of(text()), text(), headers).prop_map(|(value, key, source, headers)| Odd {
        value,
        key,
        source,
        headers,
    })
}

proptest! {
    #[test]
    fn records_decode_to_the_same_whatever_was_decoded_before(records in prop::collection::vec(odd(), 1..12)) {
        let mut warm = Decoder::default();
        for record in &records {
            let (ticks, rejects) = decoded(&mut warm, record.record());
            prop_assert_eq!((&ticks, &rejects), (&decoded(&mut Decoder::default(), record.record()).0, &decoded(&mut Decoder::default(), record.record()).1));
            prop_assert!(ticks.len() + rejects.len() <= 8 && ticks.iter().all(|(_, tick)| tick.price > 0.0 && tick.price.is_finite()));
        }
    }

    #[test]
    fn a_tick_in_another_spelling_is_the_same_tick(
        price in 1e-300f64..1e300, micros in GENESIS..NOW, places in 6usize..14, size in prop::option::of(0.0f64..1e9),
        id in prop::option::of(prop_oneof!["[1-9][0-9]{0,40}", "[a-z]{1,8}"]), order in any::<u64>(),
    ) {
        let text = DateTime::from_timestamp_micros(micros).unwrap().format("%Y-%m-%dT%H:%M:%S%.6f").to_string();
        let number = id.as_ref().filter(|id| id.starts_with(|c: char| c.is_ascii_digit()));
        let spell = |n: u64| {
            let pick = |bits: u32| (n >> bits).is_multiple_of(2);
            let mut fields = vec![
                if pick(0) { r#""coin_id":"bitcoin""#.to_owned() } else { r#""id":" BitCoin ","coin_id":null"#.to_owned() },
                if pick(1) { format!("\"price\":{price}") } else { format!("\"current_price\":\"{price:e}\"") },
                match (pick(2), pick(3)) {
                    (true, true) => format!("\"event_time\":{micros}"),
                    (true, false) => format!("\"timestamp\":\"{micros}\""),
                    (false, true) => format!("\"last_updated\":\"{text}{:0<1$}Z\"", "", places - 6),
                    (false, false) => format!("\"event_time\":\"{text}+00:00\""),
                },
                format!("\"unknown\":[{n},{{\"price\":null}}]"),
            ];
            fields.extend(size.map(|size| if pick(4) { format!("\"size\":{size}") } else { format!("\"size\":\"{size:e}\"") }));
            fields.extend(id.as_ref().map(|id| if pick(5) && number.is_some() { format!("\"trade_id\":{id}") } else { format!("\"trade_id\":\"{id}\"") }));
            let len = fields.len();
            fields.rotate_left(n as usize % len);
            format!("{{{}}}", fields.join(if pick(6) { "," } else { " ,\r\t" }))
        };
        let (first, again) = (one(&spell(0)), one(&spell(order)));
        prop_assert_eq!((&first.0, first.1.event_time, first.1.price.to_bits()), (&Market::new("replay", "bitcoin", "usd"), micros, price.to_bits()));
        prop_assert_eq!(first, again);
    }

    #[test]
    fn every_point_of_a_history_is_a_tick_a_reject_or_outside(
        points in prop::collection::vec(prop_oneof![(-5i64..15, json()).prop_map(|(minute, price)| (Some(minute), price)), json().prop_map(|raw| (None, raw))], 1..30),
        from in prop::option::of(0i64..10), to in prop::option::of(0i64..10),
    ) {
        let at = |minute: i64| 1_747_008_000_000 + minute * 60_000;
        let points: Vec<_> = points.into_iter().filter(|(_, raw)| serde_json::from_str::<&RawValue>(raw).is_ok()).collect();
        let raw = points.iter().map(|(minute, raw)| minute.map_or_else(|| raw.clone(), |minute| format!("[{},{raw}]", at(minute))));
        let value = format!(r#"{{"id":"b","prices":[{}]}}"#, raw.collect::<Vec<_>>().join(","));
        let headers = serde_json::json!({ "fill_from": from.map(|m| at(m) * 1000), "fill_to": to.map(|m| at(m) * 1000) }).to_string();
        let (ticks, rejects) = decode_keyed(&value, None, Some(&headers));
        let outside = |minute: &i64| from.is_some_and(|from| *minute < from) || to.is_some_and(|to| *minute >= to);
        let mut taken: Vec<i32> = ticks.ticks.iter().map(|tick| tick.index).chain(rejects.iter().map(|reject| reject.index)).collect();
        taken.sort_unstable();
        let inside: Vec<i32> = (0..).zip(&points).filter(|(_, (minute, _))| !minute.as_ref().is_some_and(outside)).map(|(index, _)| index).collect();
        prop_assert_eq!(taken, if points.is_empty() { vec![0] } else { inside });
    }
}
