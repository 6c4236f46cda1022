#include "server/cli/load/report.h"

#include "server/cli/text_table.h"

namespace bitdial::server {
namespace {

using nlohmann::ordered_json;

constexpr double kLateS = 0.01;  // a client that is later than this at p99 is part of the figures

std::string Milliseconds(double seconds) { return fmt::format("{:.1f}", 1000 * seconds); }

void AddRow(TextTable& table, const std::string& name, const Distribution& d) {
  if (d.count == 0) return;
  table.AddRow({name, std::to_string(d.count), Milliseconds(d.mean), Milliseconds(d.p50),
                Milliseconds(d.p90), Milliseconds(d.p95), Milliseconds(d.p99),
                Milliseconds(d.max)});
}

void AddRows(TextTable& table, const Group& group, const std::string& suffix) {
  AddRow(table, "TTFT" + suffix, group.latencies.ttft);
  AddRow(table, "inter-token" + suffix, group.latencies.inter_token);
  AddRow(table, "message gap" + suffix, group.latencies.message_gap);
  AddRow(table, "TPOT" + suffix, group.latencies.tpot);
  AddRow(table, "end to end" + suffix, group.latencies.end_to_end);
}

std::string Share(int64_t part, int64_t whole) {
  return whole == 0 ? ""
                    : fmt::format("{:.1f}%",
                                  100.0 * static_cast<double>(part) / static_cast<double>(whole));
}

std::string RequestTable(const Summary& summary) {
  TextTable table({"requests", "number", "share"});
  table.AddRow({"sent", std::to_string(summary.sent()), ""});
  const auto add = [&](const std::string& name, int64_t count) {
    table.AddRow({name, std::to_string(count), Share(count, summary.sent())});
  };
  add("ok", summary.count(Ending::kOk));
  for (const Trouble& trouble : summary.troubles) {
    add(fmt::format("{}: {} {}", Name(trouble.ending), trouble.code, trouble.reason),
        trouble.count);
  }
  return table.ToString();
}

std::string LatencyTable(const Summary& summary) {
  TextTable table({"ms", "samples", "mean", "p50", "p90", "p95", "p99", "max"});
  AddRows(table, summary.all, "");
  if (summary.by_bits.size() > 1) {
    for (const Group& group : summary.by_bits) AddRows(table, group, ", " + group.name);
  }
  AddRow(table, "reject", summary.reject);
  AddRow(table, "lateness", summary.lateness);
  return table.ToString();
}

std::string SloText(const Slo& slo) {
  std::string text;
  if (slo.ttft_s) text += fmt::format("TTFT at most {:g} ms", 1000 * *slo.ttft_s);
  if (slo.ttft_s && slo.tpot_s) text += " and ";
  if (slo.tpot_s) text += fmt::format("TPOT at most {:g} ms", 1000 * *slo.tpot_s);
  return text;
}

std::string BitsLine(const Summary& summary) {
  std::string line;
  for (const auto& [bits, tokens] : summary.tokens_by_bits) {
    line +=
        fmt::format("{}{} at {}", line.empty() ? "" : ", ", Share(tokens, summary.output_tokens),
                    bits == 0 ? "dense" : fmt::format("{} bits", bits));
  }
  return line.empty() ? "" : "tokens made: " + line + "\n";
}

std::string Notes(const Summary& summary) {
  std::string text;
  for (const Trouble& trouble : summary.troubles) {
    if (trouble.message.empty()) continue;
    text += fmt::format("{} {}: {}\n", trouble.code, trouble.reason, trouble.message);
  }
  if (summary.lateness.p99 > kLateS) {
    text += fmt::format(
        "note: this client sent {} ms late at p99: it is part of what was measured; give it a core "
        "of its own or a lower --rate\n",
        Milliseconds(summary.lateness.p99));
  }
  if (summary.is_interrupted) text += "note: ended early; what was in flight is unfinished\n";
  return text;
}

ordered_json ToJson(const Distribution& d) {
  return {{"count", d.count}, {"mean", d.mean}, {"p50", d.p50}, {"p90", d.p90},
          {"p95", d.p95},     {"p99", d.p99},   {"max", d.max}};
}

ordered_json ToJson(const Group& group) {
  const Latencies& latencies = group.latencies;
  return {{"bits", group.name},
          {"sent", group.sent},
          {"ok", group.ok},
          {"good", group.good},
          {"ttft_s", ToJson(latencies.ttft)},
          {"inter_token_s", ToJson(latencies.inter_token)},
          {"message_gap_s", ToJson(latencies.message_gap)},
          {"tpot_s", ToJson(latencies.tpot)},
          {"end_to_end_s", ToJson(latencies.end_to_end)}};
}

}  // namespace

std::string ToText(const Summary& summary, const Slo& slo) {
  std::string text = fmt::format(
      "{}\n{}\n{:.2f} requests/s, {:.1f} prompt tokens/s, {:.1f} output tokens/s in a window of "
      "{:.1f} s; at most {} in flight\n",
      RequestTable(summary), LatencyTable(summary), summary.requests_per_s,
      summary.prompt_tokens_per_s, summary.output_tokens_per_s, summary.window_s,
      summary.max_in_flight);
  if (slo.any()) {
    text +=
        fmt::format("goodput: {:.2f} requests/s; {} of those sent have {}\n", summary.goodput_per_s,
                    Share(summary.all.good, summary.sent()), SloText(slo));
  }
  if (summary.cached_prompt_tokens > 0) {
    text += fmt::format("prompt tokens from the prefix cache: {}\n",
                        Share(summary.cached_prompt_tokens, summary.prompt_tokens));
  }
  if (summary.preemptions > 0) text += fmt::format("preemptions: {}\n", summary.preemptions);
  return text + BitsLine(summary) + Notes(summary);
}

ordered_json ToJson(const Summary& summary, const Slo& slo) {
  ordered_json json = {{"window_s", summary.window_s},
                       {"interrupted", summary.is_interrupted},
                       {"max_in_flight", summary.max_in_flight},
                       {"sent", summary.sent()}};
  for (const Ending ending :
       {Ending::kOk, Ending::kRejected, Ending::kFailed, Ending::kUnfinished}) {
    json[Name(ending)] = summary.count(ending);
  }
  json["troubles"] = ordered_json::array();
  for (const Trouble& trouble : summary.troubles) {
    json["troubles"].push_back({{"ending", Name(trouble.ending)},
                                {"code", trouble.code},
                                {"reason", trouble.reason},
                                {"count", trouble.count},
                                {"message", trouble.message}});
  }
  json["requests_per_s"] = summary.requests_per_s;
  json["prompt_tokens_per_s"] = summary.prompt_tokens_per_s;
  json["output_tokens_per_s"] = summary.output_tokens_per_s;
  json["prompt_tokens"] = summary.prompt_tokens;
  json["cached_prompt_tokens"] = summary.cached_prompt_tokens;
  json["output_tokens"] = summary.output_tokens;
  json["preemptions"] = summary.preemptions;
  json["tokens_by_bits"] = ordered_json::object();
  for (const auto& [bits, tokens] : summary.tokens_by_bits) {
    json["tokens_by_bits"][std::to_string(bits)] = tokens;
  }
  if (slo.any()) {
    const double sent = static_cast<double>(summary.sent());
    json["goodput"] = {
        {"requests_per_s", summary.goodput_per_s},
        {"good", summary.all.good},
        {"share_of_sent", sent > 0 ? static_cast<double>(summary.all.good) / sent : 0}};
    if (slo.ttft_s) json["goodput"]["slo_ttft_s"] = *slo.ttft_s;
    if (slo.tpot_s) json["goodput"]["slo_tpot_s"] = *slo.tpot_s;
  }
  json["all"] = ToJson(summary.all);
  json["by_bits"] = ordered_json::array();
  for (const Group& group : summary.by_bits) json["by_bits"].push_back(ToJson(group));
  json["reject_s"] = ToJson(summary.reject);
  json["lateness_s"] = ToJson(summary.lateness);
  return json;
}

std::string TimelineCsv(const LoadResult& result, const Slo& slo) {
  std::string csv =
      "index,counted,weight_bits,prompt_tokens,output_tokens_asked,output_tokens,due_s,sent_s,"
      "first_token_s,end_s,tpot_s,ending,code,reason,good\n";
  for (const Outcome& outcome : result.outcomes) {
    const LoadRequest& request = outcome.request;
    const bool has_token = !outcome.messages.empty();
    csv += fmt::format(
        "{},{:d},{},{},{},{},{:.6f},{:.6f},{},{:.6f},{},{},{},{},{:d}\n", request.index,
        request.index >= result.first_counted, ToText(request.bits), request.prompt_tokens,
        request.output_tokens, outcome.NumTokens(), request.arrival_s, outcome.sent_s,
        has_token ? fmt::format("{:.6f}", outcome.messages.front().at_s) : "", outcome.end_s,
        outcome.NumTokens() > 1 ? fmt::format("{:.6f}", outcome.TpotS()) : "", Name(outcome.ending),
        outcome.code, outcome.reason, IsGood(outcome, slo));
  }
  return csv;
}

}  // namespace bitdial::server
