// A small writer of plots: panels of lines over axes with ticks, as one SVG file that any browser
// shows.
#pragma once

#include <string>
#include <vector>

namespace bitdial::server {

struct Point {
  double x = 0, y = 0;
};

struct Series {
  std::string name;  // in the panel's legend; empty: not in it
  std::string color;
  std::vector<Point> points;  // ascending in x, finite; at most some thousands
};

// A vertical dashed line.
struct Marker {
  std::string name;
  double x = 0;
};

struct Panel {
  std::string title;
  std::string x_label, y_label;  // with units
  bool is_log_x = false;         // then only points and markers with x > 0 are drawn
  double y_max = 0;              // 0: what the points need
  std::vector<Series> series;
  std::vector<Marker> markers;
};

// The panels in rows of two under a title and a line of what was measured.
std::string PlotSvg(const std::string& title, const std::string& subtitle,
                    const std::vector<Panel>& panels);

// Round numbers, 1, 2 or 5 times a power of ten apart, that cover [0, max] in at most 6 steps. max
// > 0.
std::vector<double> LinearTicks(double max);
// 1, 2 and 5 times powers of ten (over 3 decades: the powers alone), from the last that is at most
// min to the first that is at least max. 0 < min <= max, both finite and at least 1e-300.
std::vector<double> LogTicks(double min, double max);

}  // namespace bitdial::server
