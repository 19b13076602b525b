//! How the service is configured, besides what every service is ([`mesh::node::NodeArgs`]).

use std::net::SocketAddr;

use mesh::value::{Money, MoneyError};
use proto::google;

use crate::domain::{Platform, ReviewAfter};

/// Arguments and environment of listing.
#[derive(clap::Args, Clone, Debug)]
#[group(skip)]
pub struct Config {
    /// Address that listing serves on.
    #[arg(long, env = "HOLDFAST_LISTING_LISTEN", default_value = "127.0.0.1:7401")]
    pub listing_listen: SocketAddr,
    /// Open reservations of a listing that one customer may have, where its host sets no limit; 0 is no limit
    #[arg(long, env = "HOLDFAST_LISTING_MAX_PER_PERSON", default_value_t = 0, value_parser = clap::value_parser!(i32).range(0..=100_000))]
    pub listing_max_per_person: i32,
    /// What a reservation costs at least, e.g. "KRW 3800", where the listing is priced in this currency, is not free, and its host sets no
    /// minimum
    #[arg(long, env = "HOLDFAST_LISTING_MIN_PRICE", value_name = "MONEY", value_parser = money)]
    pub listing_min_price: Option<Money>,
    /// How far a reservation must be before its customer may leave a review
    #[arg(long, env = "HOLDFAST_LISTING_REVIEW_AFTER", value_enum, default_value_t)]
    pub listing_review_after: ReviewAfter,
}

impl Config {
    /// What of it the use cases decide by.
    #[must_use]
    pub const fn platform(&self) -> Platform {
        Platform {
            max_per_person: self.listing_max_per_person,
            min_price: self.listing_min_price,
            review_after: self.listing_review_after,
        }
    }
}

/// A currency code and an amount, as [`Money`] is displayed.
fn money(text: &str) -> Result<Money, MoneyError> {
    let (code, amount) = text.split_once(' ').ok_or(MoneyError::Malformed)?;
    let (units, fraction) = amount.split_once('.').unwrap_or((amount, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(units) || !digits(fraction) || fraction.len() > 9 {
        return Err(MoneyError::Malformed);
    }
    let wire = google::r#type::Money {
        currency_code: code.to_owned(),
        units: units.parse().map_err(|_| MoneyError::Overflow)?,
        nanos: format!("{fraction:0<9}").parse().map_err(|_| MoneyError::Malformed)?,
    };
    Money::try_from(&wire)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        config: Config,
    }

    fn parsed(args: &[&str]) -> Result<Platform, clap::Error> {
        Command::try_parse_from([&["listing"], args].concat()).map(|command| command.config.platform())
    }

    #[test]
    fn the_platform_decides_nothing_unless_told() {
        let platform = parsed(&[]).expect("defaults");
        let decided = (platform.max_per_person, platform.min_price, platform.review_after);
        assert_eq!(decided, (0, None, ReviewAfter::Confirmed));
        let platform = parsed(&["--listing-max-per-person=10", "--listing-review-after=completed"]).expect("decided");
        assert_eq!((platform.max_per_person, platform.review_after), (10, ReviewAfter::Completed));
        assert!(parsed(&["--listing-max-per-person=-1"]).is_err());
    }

    #[test]
    fn a_minimum_is_written_as_money_is_shown() {
        for text in ["KRW 3800", "EUR 12.50", "KWD 0.005", "KRW 0"] {
            assert_eq!(money(text).map(|money| money.to_string()).as_deref(), Ok(text));
        }
        for (text, error) in [
            ("3800", MoneyError::Malformed),
            ("KRW", MoneyError::Malformed),
            ("KRW -1", MoneyError::Malformed),
            ("KRW 1.", MoneyError::Malformed),
            ("KRW 1.5", MoneyError::TooFine),
            ("krw 1", MoneyError::UnknownCurrency),
            ("KRW 99999999999999999999", MoneyError::Overflow),
        ] {
            assert_eq!(money(text), Err(error), "{text}");
        }
    }
}
