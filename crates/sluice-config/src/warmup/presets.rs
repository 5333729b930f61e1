//! Ramps that ESPs have published.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// SparkPost's stages by day, for one IP address: its guide to warming an address up, and the stages of its automated
/// warm-up, as they stood in November 2026. The number of day 29 is the last one.
const SPARKPOST: [u32; 29] = [
    200, 500, 1000, 2000, 5000, 10_000, 20_000, // week 1
    40_000, 50_000, 75_000, 100_000, 150_000, 200_000, 250_000, // week 2
    325_000, 400_000, 500_000, 600_000, 750_000, 1_000_000, 1_250_000, // week 3
    1_750_000, 2_000_000, 3_000_000, 4_250_000, 5_000_000, 6_000_000, 7_500_000, // week 4
    10_000_000,
];

/// SendGrid's table by day for warming up by hand, as a reseller quotes it (November 2026; SendGrid's own page was not
/// at hand). It goes on after the last number that was quoted.
const SENDGRID: [u32; 17] = [
    50, 100, 250, 500, 1000, 2500, 5000, 7500, 10_000, 15_000, 20_000, 30_000, 40_000, 55_000, 70_000,
    100_000, 150_000,
];

/// SendGrid's automated warm-up, by the age of one IP address in days: messages in an HOUR. From its documentation's
/// repository (2021).
const SENDGRID_AUTOMATED_HOURLY: [u32; 36] = [
    20, 28, 39, 55, 77, 108, 151, 211, 295, 413, 579, 810, 1000, 1587, 2222, 3111, 4356, 6098, 8583, 11_953,
    16_734, 23_427, 32_798, 45_917, 64_284, 89_998, 125_997, 176_395, 246_953, 345_735, 484_029, 677_640,
    948_696, 1_328_175, 1_859_444, 2_603_222,
];
const HOURS_PER_DAY: u32 = 24;

/// A published ramp by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Preset {
    /// SparkPost's stages, 200 to 10000000 a day in 29 days.
    Sparkpost,
    /// SendGrid's table for warming up by hand, 50 to 150000 a day in 17 days.
    Sendgrid,
    /// SendGrid's automated warm-up, 480 to 62477328 a day in 36 days.
    SendgridAutomated,
}

impl Preset {
    /// Messages by day, for one IP address.
    pub(super) fn caps(self) -> Vec<u32> {
        match self {
            Self::Sparkpost => SPARKPOST.to_vec(),
            Self::Sendgrid => SENDGRID.to_vec(),
            Self::SendgridAutomated => {
                SENDGRID_AUTOMATED_HOURLY.iter().map(|hourly| hourly * HOURS_PER_DAY).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sluice_types::COUNT_MAX;

    #[test]
    fn a_preset_is_a_ramp_that_could_be_written_out() {
        for (preset, days, first, last) in [
            (Preset::Sparkpost, 29, 200, 10_000_000),
            (Preset::Sendgrid, 17, 50, 150_000),
            (Preset::SendgridAutomated, 36, 480, 62_477_328),
        ] {
            let caps = preset.caps();
            assert_eq!(caps.len(), days, "{preset:?}");
            assert_eq!((caps[0], caps[days - 1]), (first, last), "{preset:?}");
            assert!(caps.is_sorted_by(|a, b| a < b), "{preset:?}");
            assert!(last <= COUNT_MAX, "{preset:?}");
        }
    }
}
