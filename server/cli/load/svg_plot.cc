#include "server/cli/load/svg_plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace bitdial::server {
namespace {

// Pixels.
constexpr double kPanelWidth = 480, kPanelHeight = 300, kHeader = 56;
constexpr double kLeft = 62, kRight = 18, kTop = 34, kBottom = 46;
constexpr char kInk[] = "#333333";
constexpr char kGrid[] = "#e6e6e6";

std::string Escaped(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '<') {
      escaped += "&lt;";
    } else if (c == '>') {
      escaped += "&gt;";
    } else if (c == '&') {
      escaped += "&amp;";
    } else if (c == '"') {
      escaped += "&quot;";
    } else {
      escaped += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
  }
  return escaped;
}

std::string Text(double x, double y, const std::string& text, const std::string& style) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" {}>{}</text>\n", x, y, style, Escaped(text));
}

std::string Line(double x1, double y1, double x2, double y2, const std::string& style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1,
                     x2, y2, style);
}

// Where values lie in a panel.
class Axes {
 public:
  Axes(const Panel& panel, double left, double top)
      : left_(left + kLeft),
        right_(left + kPanelWidth - kRight),
        top_(top + kTop),
        bottom_(top + kPanelHeight - kBottom),
        is_log_x_(panel.is_log_x) {
    x_min_ = is_log_x_ ? INFINITY : 0;
    for (const Series& series : panel.series) {
      for (const Point& point : series.points) Include(point);
    }
    for (const Marker& marker : panel.markers) Include({marker.x, 0});
    if (!(x_min_ < x_max_)) {  // no point, or one
      x_min_ = is_log_x_ ? (x_max_ > 0 ? x_max_ / 2 : 1) : 0;
      x_max_ = x_max_ > 0 ? 2 * x_max_ : 10;
    }
    x_ticks = is_log_x_ ? LogTicks(x_min_, x_max_) : LinearTicks(x_max_);
    y_ticks = LinearTicks(panel.y_max > 0 ? panel.y_max : (y_max_ > 0 ? y_max_ : 1));
    if (is_log_x_) {
      x_min_ = x_ticks.front();
      x_max_ = x_ticks.back();
    } else if (x_ticks.back() > x_max_) {
      x_ticks.pop_back();
    }
    y_max_ = y_ticks.back();
  }

  bool Shows(double x) const { return !is_log_x_ || x > 0; }
  double X(double x) const {
    const double share = is_log_x_ ? std::log(x / x_min_) / std::log(x_max_ / x_min_)
                                   : (x - x_min_) / (x_max_ - x_min_);
    return left_ + share * (right_ - left_);
  }
  double Y(double y) const { return bottom_ - y / y_max_ * (bottom_ - top_); }
  double left() const { return left_; }
  double right() const { return right_; }
  double top() const { return top_; }
  double bottom() const { return bottom_; }

  std::vector<double> x_ticks, y_ticks;

 private:
  void Include(Point point) {
    if (!Shows(point.x)) return;
    x_min_ = std::min(x_min_, point.x);
    x_max_ = std::max(x_max_, point.x);
    y_max_ = std::max(y_max_, point.y);
  }

  double left_, right_, top_, bottom_;
  bool is_log_x_;
  double x_min_ = 0, x_max_ = 0, y_max_ = 0;
};

std::string Frame(const Panel& panel, const Axes& axes) {
  std::string svg = Text(axes.left(), axes.top() - 12, panel.title, "font-weight=\"bold\"");
  for (const double tick : axes.y_ticks) {
    const double y = axes.Y(tick);
    svg += Line(axes.left(), y, axes.right(), y, fmt::format("stroke=\"{}\"", kGrid));
    svg += Text(axes.left() - 6, y + 4, fmt::format("{:g}", tick), "text-anchor=\"end\"");
  }
  for (const double tick : axes.x_ticks) {
    const double x = axes.X(tick);
    svg += Line(x, axes.bottom(), x, axes.bottom() + 4, fmt::format("stroke=\"{}\"", kInk));
    svg += Text(x, axes.bottom() + 16, fmt::format("{:g}", tick), "text-anchor=\"middle\"");
  }
  svg += Line(axes.left(), axes.bottom(), axes.right(), axes.bottom(),
              fmt::format("stroke=\"{}\"", kInk));
  const double middle_y = (axes.top() + axes.bottom()) / 2;
  svg += Text((axes.left() + axes.right()) / 2, axes.bottom() + 34, panel.x_label,
              "text-anchor=\"middle\"");
  svg += Text(axes.left() - 46, middle_y, panel.y_label,
              fmt::format("text-anchor=\"middle\" transform=\"rotate(-90 {:.1f} {:.1f})\"",
                          axes.left() - 46, middle_y));
  return svg;
}

std::string Curve(const Series& series, const Axes& axes) {
  std::string points;
  for (const Point& point : series.points) {
    if (!axes.Shows(point.x)) continue;
    points += fmt::format("{:.1f},{:.1f} ", axes.X(point.x), axes.Y(point.y));
  }
  return fmt::format(
      "<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.8\" "
      "stroke-linejoin=\"round\"/>\n",
      points, Escaped(series.color));
}

std::string DrawPanel(const Panel& panel, double left, double top) {
  const Axes axes(panel, left, top);
  std::string svg = Frame(panel, axes);
  for (const Marker& marker : panel.markers) {
    if (!axes.Shows(marker.x)) continue;
    const double x = axes.X(marker.x);
    const std::string style = fmt::format("stroke=\"{}\" stroke-dasharray=\"4 3\"", kInk);
    svg += Line(x, axes.top(), x, axes.bottom(), style);
    const bool is_right = x > (axes.left() + axes.right()) / 2;
    svg += Text(is_right ? x - 4 : x + 4, axes.top() + 10, marker.name,
                is_right ? "text-anchor=\"end\"" : "");
  }
  double legend_y = axes.bottom() - 10;
  for (auto series = panel.series.rbegin(); series != panel.series.rend(); ++series) {
    svg += Curve(*series, axes);
    if (series->name.empty()) continue;
    svg += Line(axes.right() - 20, legend_y - 4, axes.right(), legend_y - 4,
                fmt::format("stroke=\"{}\" stroke-width=\"3\"", Escaped(series->color)));
    svg += Text(axes.right() - 26, legend_y, series->name, "text-anchor=\"end\"");
    legend_y -= 16;
  }
  return svg;
}

}  // namespace

std::vector<double> LinearTicks(double max) {
  const double raw = max / 5;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= raw * (1 - 1e-9)) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  for (int i = 0; i <= 6; ++i) {
    ticks.push_back(i * step);
    if (ticks.back() >= max * (1 - 1e-9)) break;
  }
  return ticks;
}

std::vector<double> LogTicks(double min, double max) {
  const bool is_wide = max / min > 1000;
  std::vector<double> ticks;
  for (int exponent = static_cast<int>(std::floor(std::log10(min)));; ++exponent) {
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (is_wide && factor != 1) continue;
      const double tick = factor * std::pow(10, exponent);
      if (tick <= min) ticks.clear();
      ticks.push_back(tick);
      if (tick >= max) return ticks;
    }
  }
}

std::string PlotSvg(const std::string& title, const std::string& subtitle,
                    const std::vector<Panel>& panels) {
  const size_t rows = (panels.size() + 1) / 2;
  const double width = 2 * kPanelWidth;
  const double height = kHeader + kPanelHeight * static_cast<double>(rows);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0:g}\" height=\"{1:g}\" "
      "viewBox=\"0 0 {0:g} {1:g}\" font-family=\"Helvetica, Arial, sans-serif\" "
      "font-size=\"12\" fill=\"{2}\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
      width, height, kInk);
  svg += Text(kLeft, 24, title, "font-size=\"16\" font-weight=\"bold\"");
  svg += Text(kLeft, 44, subtitle, "");
  for (size_t i = 0; i < panels.size(); ++i) {
    svg += DrawPanel(panels[i], kPanelWidth * static_cast<double>(i % 2),
                     kHeader + kPanelHeight * static_cast<double>(i / 2));
  }
  return svg + "</svg>\n";
}

}  // namespace bitdial::server
