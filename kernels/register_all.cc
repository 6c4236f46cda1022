#include "kernels/register_all.h"

#include <set>
#include <string>
#include <vector>

#include "kernels/core/check.h"
#include "kernels/formats/bcq/rows.h"
#include "kernels/formats/dense/rows.h"
#include "kernels/formats/int8/rows.h"
#include "kernels/kv_formats/f16/rows.h"
#include "kernels/kv_formats/f32/rows.h"
#include "kernels/ops/elementwise/rows.h"
#include "kernels/ops/layer_norm/rows.h"
#include "kernels/ops/rms_norm/rows.h"
#include "kernels/ops/rope/rows.h"

namespace bitdial::kernels {
namespace {

// One line a folder. Inside one backend the order of rows is the order of preference.
constexpr std::span<const KernelRow> (*kFolders[])() = {
    DenseRows,        //
    BcqRows,          //
    Int8Rows,         //
    F32KvRows,        //
    F16KvRows,        //
    ElementwiseRows,  //
    LayerNormRows,    //
    RmsNormRows,      //
    RopeRows,         //
};

std::vector<KernelRow> Collect() {
  std::vector<KernelRow> rows;
  std::set<std::string> names;
  for (auto folder : kFolders) {
    for (const KernelRow& row : folder()) {
      BITDIAL_CHECK(names.insert(row.name).second);
      rows.push_back(row);
    }
  }
  return rows;
}

}  // namespace

std::span<const KernelRow> AllRows() {
  static const std::vector<KernelRow> rows = Collect();
  return rows;
}

}  // namespace bitdial::kernels
