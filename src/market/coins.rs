//! The ten coins that are watched by default, by `CoinGecko`'s id, with their ticker symbols.

pub const DEFAULT_COINS: [(&str, &str); 10] = [
    ("bitcoin", "BTC"),
    ("ethereum", "ETH"),
    ("solana", "SOL"),
    ("cardano", "ADA"),
    ("ripple", "XRP"),
    ("polkadot", "DOT"),
    ("dogecoin", "DOGE"),
    ("chainlink", "LINK"),
    ("tron", "TRX"),
    ("avalanche-2", "AVAX"),
];

/// The ids of [`DEFAULT_COINS`].
pub fn default_ids() -> impl Iterator<Item = &'static str> {
    DEFAULT_COINS.into_iter().map(|(id, _)| id)
}

/// The ticker symbol of one of [`DEFAULT_COINS`].
pub fn symbol(id: &str) -> Option<&'static str> {
    DEFAULT_COINS.into_iter().find(|(known, _)| *known == id).map(|(_, symbol)| symbol)
}
