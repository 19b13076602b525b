//! `holdfast demo`: the story of a business, played on a running mesh for somebody who watches.
//!
//! Every line is a real call with a token of whoever makes it, and every wait is for what the mesh itself tells. What is shown at the end
//! (messages, my page, the timeline) is read from the mesh too.

mod airbnb;
mod approval;
mod resort;
mod screening;
mod stage;
mod taxi;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::api::{Target, TargetArgs};
use crate::business::Business;
use crate::duration::{self, readable};
use crate::terminal::{Style, Table, paint, say};
use stage::Stage;

/// Plays the story of a business on a running mesh: who does what, what comes back, what everybody is told.
///
/// Users and listings are made for this run; at its end every reservation has ended and every listing is deleted. The first step that fails is
/// printed with the details of the answer and ends the story with exit code 1.
#[derive(clap::Args, Clone, Debug)]
pub struct DemoArgs {
    /// Which story
    #[arg(value_enum)]
    pub story: Story,
    /// The language of the messages
    #[arg(long, value_enum, value_name = "LANGUAGE", default_value = "en")]
    pub language: Language,
    /// How long to wait for what follows from events, such as a message
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = duration::parse)]
    pub patience: Duration,
    /// The mesh to play on.
    #[command(flatten)]
    pub target: TargetArgs,
}

/// A language that messages are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Language {
    /// English
    En,
    /// Korean
    Ko,
}

impl Language {
    const fn code(self) -> &'static str {
        match self {
            Self::En => "en",
            Self::Ko => "ko",
        }
    }
}

/// What `demo` is asked to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Story {
    /// That of one business.
    Of(Business),
    /// All of them, one after the other.
    All,
}

impl Story {
    fn businesses(self) -> Vec<Business> {
        match self {
            Self::Of(business) => vec![business],
            Self::All => Business::ALL.to_vec(),
        }
    }
}

impl ValueEnum for Story {
    fn value_variants<'a>() -> &'a [Self] {
        const VARIANTS: [Story; 6] = [
            Story::Of(Business::Airbnb),
            Story::Of(Business::Approval),
            Story::Of(Business::Resort),
            Story::Of(Business::Taxi),
            Story::Of(Business::Screening),
            Story::All,
        ];
        &VARIANTS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Of(business) => business.to_possible_value(),
            Self::All => Some(PossibleValue::new("all").help("the five, one after the other")),
        }
    }
}

/// Runs the command.
///
/// # Errors
/// The mesh cannot be found, or a step failed (which has been printed then).
pub async fn run(args: &DemoArgs) -> Result<()> {
    let target = args.target.open()?;
    let mut played = Table::new(["story", "steps", "time"]).right(&[1, 2]);
    for business in args.story.businesses() {
        let started = Instant::now();
        let steps = play(&target, args, business).await?;
        played.row([business.name().to_owned(), steps.to_string(), readable(started.elapsed())]);
    }
    played.print();
    Ok(())
}

/// Answers how many steps it took.
async fn play(target: &Target, args: &DemoArgs, business: Business) -> Result<usize> {
    let value = business.to_possible_value().expect("every business can be named");
    let about = value.get_help().map(ToString::to_string).unwrap_or_default();
    say(format_args!("{}  {}\n", paint(Style::Strong, business.name()), paint(Style::Faint, about)));
    let mut stage = Stage::new(target, args, business);
    match business {
        Business::Airbnb => airbnb::play(&mut stage).await?,
        Business::Approval => approval::play(&mut stage).await?,
        Business::Resort => resort::play(&mut stage).await?,
        Business::Taxi => taxi::play(&mut stage).await?,
        Business::Screening => screening::play(&mut stage).await?,
    }
    say("");
    Ok(stage.steps())
}
