//! What `screenshot` shows of a storage.

use crate::support::process::{program, replaying, succeed};

#[test]
fn the_change_over_a_day_is_the_one_that_came_with_the_newest_price() {
    let folder = tempfile::tempdir().unwrap();
    let (storage, input) = (folder.path().join("storage"), folder.path().join("input.ndjson"));
    let line = |price: u32, change: u32, time: &str| {
        format!(
            r#"{{"id":"bitcoin","symbol":"btc","current_price":{price},"price_change_percentage_24h":{change},"last_updated":"2025-05-12T{time}Z"}}{}"#,
            '\n'
        )
    };
    let shown = |lines: String| {
        std::fs::write(&input, lines).unwrap();
        succeed(replaying(&storage, &input, 1));
        let picture = succeed(program(&["screenshot"], &storage)).stdout;
        let picture = String::from_utf8(picture).unwrap();
        // In the table and in the card below it; the glyph before the number is a separate text.
        (picture.contains(">10.00<") && picture.contains(">10.00 %<"), picture.contains(">21.00"))
    };
    let first = line(100, 0, "00:00:10") + &line(100, 0, "00:01:10");
    assert_eq!(shown(first.clone()), (false, false));
    assert_eq!(shown(first + &line(110, 10, "00:03:10")), (true, false));
}
