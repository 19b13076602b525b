//! For tests: what counters and gauges would be exported as.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData, ResourceMetrics};
use opentelemetry_sdk::metrics::exporter::PushMetricExporter;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider, Temporality};

/// The last values, as text: the metric, its labels by the last part of their names, the value.
#[derive(Clone, Default)]
pub(crate) struct Exported(Arc<Mutex<Vec<String>>>);

impl Exported {
    /// A provider that exports to here when it is flushed.
    pub(crate) fn provider(&self) -> SdkMeterProvider {
        SdkMeterProvider::builder().with_reader(PeriodicReader::builder(self.clone()).build()).build()
    }

    /// What was exported last, sorted.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = self.0.lock().unwrap().clone();
        lines.sort();
        lines
    }
}

impl PushMetricExporter for Exported {
    async fn export(&self, metrics: &ResourceMetrics) -> OTelSdkResult {
        let all = metrics.scope_metrics().flat_map(|scope| scope.metrics().flat_map(lines));
        *self.0.lock().unwrap() = all.collect();
        Ok(())
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }

    fn temporality(&self) -> Temporality {
        Temporality::Cumulative
    }
}

fn lines(metric: &Metric) -> Vec<String> {
    let AggregatedMetrics::U64(data) = metric.data() else { return Vec::new() };
    let points: Vec<_> = match data {
        MetricData::Gauge(gauge) => {
            gauge.data_points().map(|point| (labels(point.attributes()), point.value())).collect()
        }
        MetricData::Sum(sum) => sum.data_points().map(|point| (labels(point.attributes()), point.value())).collect(),
        _ => Vec::new(),
    };
    points.into_iter().map(|(labels, value)| format!("{}{labels} {value}", metric.name())).collect()
}

fn labels<'a>(attributes: impl Iterator<Item = &'a KeyValue>) -> String {
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let mut values: Vec<_> = attributes.map(|label| format!(" {}={}", name(label.key.as_str()), label.value)).collect();
    values.sort();
    values.concat()
}
