// The kernel table: which backend is chosen, what a forced one changes, what each refusal says.
#include "kernels/kernel_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "kernels/register_all.h"
#include "kernels/timed_kernel.h"

namespace bitdial::kernels {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr CpuFeatures kNothing = {};
constexpr CpuFeatures kAvx2Only = {.avx2 = true};
constexpr CpuFeatures kAvx512 = {.avx2 = true, .avx512 = true};
constexpr CpuFeatures kVnni = {
    .avx2 = true, .avx512 = true, .avx512_vbmi = true, .avx512_vnni = true};
constexpr CpuFeatures kAmx = {.avx2 = true,
                              .avx512 = true,
                              .avx512_vbmi = true,
                              .avx512_vnni = true,
                              .amx_int8 = true};
constexpr KernelKey kDensePrompt = {
    .op = Op::kLinear, .weight_format = WeightFormat::kDense, .role = Role::kPrompt};
constexpr KernelShape kDenseShape = {.in_features = 64, .out_features = 8};

// A shape that every row of the key takes.
KernelShape LegalShape(const KernelKey& key) {
  KernelShape shape = {.num_heads = 4, .num_kv_heads = 2, .head_dim = 64};
  if (key.weight_format != WeightFormat::kNone) {
    shape = {.in_features = 64, .out_features = 8};
    if (key.weight_format != WeightFormat::kDense) shape.group_size = 32;
    if (key.weight_format == WeightFormat::kBcq) shape.max_bits = 4;
  }
  return shape;
}

// The backends that answer, over every key that the table's numerics have.
std::set<Backend> BackendsFound(const KernelTable& table) {
  std::set<Backend> found;
  for (const KernelRow& row : AllRows()) {
    if (row.numerics > table.numerics()) continue;
    auto answer = table.Find(row.key, LegalShape(row.key));
    EXPECT_TRUE(answer.ok()) << row.name << ": " << answer.status().message();
    if (answer.ok()) found.insert((*answer)->backend);
  }
  return found;
}

// Of the row's own type: what calls it sees no difference.
TEST(KernelRows, EachHasATimedForm) {
  for (const KernelRow& row : AllRows()) {
    const KernelFn timed = TimedForm(row);
    EXPECT_EQ(timed.index(), row.fn.index()) << row.name;
    EXPECT_NE(timed, row.fn) << row.name;
  }
}

// The backend a row's name promises after its last "__": the Backend name, for CPU ones without
// "cpu_".
TEST(KernelRows, NamesAreUniqueAndSayTheirBackend) {
  std::set<std::string> names;
  for (const KernelRow& row : AllRows()) {
    const std::string name = row.name;
    EXPECT_TRUE(names.insert(name).second) << name << " is there twice";
    const size_t cut = name.rfind("__");
    ASSERT_NE(cut, std::string::npos) << name;
    std::string backend = Name(row.backend);
    if (backend.rfind("cpu_", 0) == 0) backend = backend.substr(4);
    EXPECT_EQ(name.substr(cut + 2), backend) << name;
    EXPECT_THAT(name, HasSubstr(Name(row.key.op))) << name;
    if (row.key.kv_format != KvFormat::kNone) {
      EXPECT_THAT(name, HasSubstr(std::string("kv") + Name(row.key.kv_format)));
    }
  }
}

// A wrong std::get would throw inside FindFn.
TEST(KernelRows, FunctionsHaveTheTypeOfTheirOp) {
  for (const KernelRow& row : AllRows()) {
    EXPECT_EQ(static_cast<size_t>(row.key.op), row.fn.index()) << row.name;
    std::visit([&](auto fn) { EXPECT_NE(fn, nullptr) << row.name; }, row.fn);
    EXPECT_NE(row.supports, nullptr) << row.name;
    EXPECT_STRNE(row.numeric_class, "") << row.name;
  }
}

// So whoever may run one row of a class may run them all, but for the machine.
TEST(KernelRows, OfAClassRoundTheSame) {
  std::map<std::string, Numerics> numerics;
  for (const KernelRow& row : AllRows())
    EXPECT_EQ(numerics.emplace(row.numeric_class, row.numerics).first->second, row.numerics) << row.name;
}

TEST(KernelTable, OffersNothingTheProcessorLacks) {
  const KernelTable plain = KernelTable::Create(kNothing, "").value();
  EXPECT_EQ(plain.backend(), Backend::kCpuRef);
  EXPECT_EQ(BackendsFound(plain), std::set{Backend::kCpuRef});

  const KernelTable avx2 = KernelTable::Create(kAvx2Only, "").value();
  EXPECT_EQ(avx2.backend(), Backend::kCpuAvx2);
  EXPECT_EQ(BackendsFound(avx2).count(Backend::kCpuAvx512), 0u);
  EXPECT_EQ(BackendsFound(avx2).count(Backend::kCpuAvx2), 1u);
  for (const KernelRow& row : avx2.rows()) {
    EXPECT_EQ(avx2.IsRunnable(row), row.backend <= Backend::kCpuAvx2) << row.name;
  }

  const KernelTable avx512 = KernelTable::Create(kAvx512, "").value();
  EXPECT_EQ(avx512.backend(), Backend::kCpuAvx512);
  EXPECT_EQ(BackendsFound(avx512).count(Backend::kCpuAvx512), 1u);
}

TEST(KernelTable, TakesTheBestRowOfTheRole) {
  const KernelTable table = KernelTable::Create(kAvx512, "").value();
  EXPECT_STREQ((*table.Find(kDensePrompt, kDenseShape))->name, "dense_linear_f32_chain__avx512");
  KernelKey decode = kDensePrompt;
  decode.role = Role::kDecode;
  EXPECT_STREQ((*table.Find(decode, kDenseShape))->name, "dense_linear_f32_dot16__avx512");
}

// Rows that round run only where they were asked for, and then before any other: a processor without
// VBMI and VNNI takes AVX2's rather than AVX-512's exact one, since a class is a promise.
TEST(KernelTable, RowsThatRoundAreTakenWhenAskedFor) {
  const KernelKey decode = {
      .op = Op::kLinear, .weight_format = WeightFormat::kBcq, .role = Role::kDecode};
  const KernelShape shape = {
      .in_features = 128, .out_features = 64, .group_size = 64, .max_bits = 4};
  const auto found = [&](const CpuFeatures& features, const char* forced, Numerics numerics) {
    return std::string(
        (*KernelTable::Create(features, forced, numerics)->Find(decode, shape))->name);
  };
  EXPECT_EQ(found(kVnni, "", Numerics::kExact), "bcq_linear_f32_lut4__avx512");
  EXPECT_EQ(found(kVnni, "", Numerics::kInt8), "bcq_linear_i8_lut4__avx512");
  EXPECT_EQ(found(kAvx512, "", Numerics::kInt8), "bcq_linear_i8_lut4__avx2");
  EXPECT_EQ(found(kVnni, "cpu_avx2", Numerics::kInt8), "bcq_linear_i8_lut4__avx2");
  EXPECT_EQ(found({}, "", Numerics::kInt8), "bcq_linear_i8_lut4__ref");
  EXPECT_EQ(found(kAvx512, "", Numerics::kInt16), "bcq_linear_i16_lut4__avx512");
  EXPECT_EQ(found(kVnni, "cpu_avx2", Numerics::kInt16), "bcq_linear_i16_lut4__avx2");
  EXPECT_EQ(found({}, "", Numerics::kInt16), "bcq_linear_i16_lut4__ref");
  KernelKey prompt = decode;
  prompt.role = Role::kPrompt;
  KernelShape many = shape;
  many.max_bits = 6;  // 8-bit scales are too coarse for it
  const KernelTable int8 = KernelTable::Create(kVnni, "", Numerics::kInt8).value();
  EXPECT_STREQ((*int8.Find(prompt, shape))->numeric_class, "bcq_i8");  // that of decode rows
  EXPECT_STREQ((*int8.Find(prompt, many))->name, "bcq_linear_f32_dequant__avx512");
  // Prompts of int16 are exact.
  const KernelTable int16 = KernelTable::Create(kVnni, "", Numerics::kInt16).value();
  EXPECT_STREQ((*int16.Find(prompt, shape))->name, "bcq_linear_f32_dequant__avx512");
  // What has no int8 row is not touched.
  const KernelTable table = KernelTable::Create(kVnni, "", Numerics::kInt8).value();
  EXPECT_STREQ((*table.Find(kDensePrompt, kDenseShape))->name, "dense_linear_f32_chain__avx512");
}

// Every machine that this build knows, with every backend that may be forced and all numerics.
std::vector<KernelTable> AllTables() {
  std::vector<KernelTable> tables;
  for (const CpuFeatures& features : {kNothing, kAvx2Only, kAvx512, kVnni, kAmx}) {
    for (const char* backend : {"", "cpu_ref", "cpu_avx2", "cpu_avx512"}) {
      for (Numerics numerics : {Numerics::kExact, Numerics::kInt16, Numerics::kInt8}) {
        auto table = KernelTable::Create(features, backend, numerics);
        if (table.ok()) tables.push_back(*std::move(table));
      }
    }
  }
  return tables;
}

// Shapes of a key, also such that some rows refuse.
std::vector<KernelShape> ShapesOf(const KernelKey& key) {
  std::vector<KernelShape> shapes = {LegalShape(key), LegalShape(key)};
  shapes[1].max_bits = key.weight_format == WeightFormat::kBcq ? 7 : 0;
  return shapes;
}

KernelKey WithRole(KernelKey key, Role role) {
  if (key.op == Op::kLinear) key.role = role;
  return key;
}

// Invariant 8: what may be chosen by row count and time is of the class that Find names, runnable,
// and takes the shape. The reference is no choice beside others.
TEST(KernelTable, CandidatesAreOfOneClass) {
  size_t num_several = 0;
  for (const KernelTable& table : AllTables()) {
    for (const KernelRow& known : AllRows()) {
      if (known.numerics > table.numerics()) continue;
      for (Role role : {Role::kPrompt, Role::kDecode}) {
        const KernelKey key = WithRole(known.key, role);
        for (const KernelShape& shape : ShapesOf(key)) {
          const auto candidates = table.Candidates(key, shape);
          ASSERT_TRUE(candidates.ok()) << candidates.status();
          const KernelRow& first = *candidates->front();
          EXPECT_EQ(*table.Find(key, shape), &first);
          num_several += candidates->size() > 1 ? 1 : 0;
          for (const KernelRow* row : *candidates) {
            EXPECT_STREQ(row->numeric_class, first.numeric_class) << row->name;
            EXPECT_EQ(row->numerics, first.numerics) << row->name;
            EXPECT_EQ(row->key.op, key.op) << row->name;
            EXPECT_TRUE(row->key.role == key.role || row->key.role == Role::kAny) << row->name;
            EXPECT_TRUE(table.IsRunnable(*row)) << row->name;
            EXPECT_EQ(row->supports(shape), "") << row->name;
            EXPECT_LE(row->backend, first.backend) << row->name;
            EXPECT_EQ(row->backend == Backend::kCpuRef, first.backend == Backend::kCpuRef)
                << row->name;
          }
        }
      }
    }
  }
  EXPECT_GT(num_several, 0u);
}

// A forced row runs alone where it may run, and changes nothing where it may not: neither the class
// nor any other row.
TEST(KernelTable, AForcedRowRunsAloneInsideItsClass) {
  for (Numerics numerics : {Numerics::kExact, Numerics::kInt16, Numerics::kInt8}) {
    const KernelTable plain = *KernelTable::Create(kAmx, "", numerics);
    for (const KernelRow& forced : AllRows()) {
      const auto table = KernelTable::Create(kAmx, "", numerics, forced.name);
      ASSERT_EQ(table.ok(), forced.numerics <= numerics) << table.status();
      if (!table.ok()) continue;
      for (const KernelRow& known : AllRows()) {
        if (known.numerics > numerics) continue;
        const KernelShape shape = LegalShape(known.key);
        const KernelKey key = WithRole(known.key, known.key.role == Role::kAny ? Role::kDecode
                                                                               : known.key.role);
        const auto before = *plain.Candidates(key, shape), after = *table->Candidates(key, shape);
        EXPECT_STREQ(after[0]->numeric_class, before[0]->numeric_class) << forced.name;
        if (after != before) {
          EXPECT_EQ(after, std::vector{&forced});
        }
      }
    }
  }
}

TEST(KernelTable, RefusesTwoForcedRowsOfWhichOneCanRun) {
  const auto create = [](const char* rows) {
    return KernelTable::Create(kAvx2Only, "", Numerics::kInt8, rows).status();
  };
  const absl::Status two = create("bcq_linear_i8_lut4__avx2,bcq_linear_i8_dequant__avx2");
  EXPECT_EQ(two.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(two.message()),
              AllOf(HasSubstr("lut4__avx2 and bcq_linear_i8_dequant__avx2"), HasSubstr("bcq_i8")));
  EXPECT_EQ(create("bcq_linear_f32_decode__ref,bcq_linear_f32_prompt__ref"), absl::OkStatus());
  EXPECT_THAT(std::string(create(" , ").message()), HasSubstr("name none"));
}

TEST(KernelTable, AForcedReferenceOfTheClassRuns) {
  const KernelTable table =
      *KernelTable::Create(kAvx2Only, "", Numerics::kInt8, " bcq_linear_i8_lut4__ref ,");
  const KernelKey decode = {
      .op = Op::kLinear, .weight_format = WeightFormat::kBcq, .role = Role::kDecode};
  EXPECT_STREQ((*table.Find(decode, LegalShape(decode)))->name, "bcq_linear_i8_lut4__ref");
  EXPECT_STREQ((*table.Find(kDensePrompt, kDenseShape))->name, "dense_linear_f32_chain__avx2");
}

TEST(KernelTable, RefusesARowThatItCannotForce) {
  const auto message = [](const CpuFeatures& features, const char* backend, Numerics numerics,
                          const char* rows, absl::StatusCode code) {
    const absl::Status status = KernelTable::Create(features, backend, numerics, rows).status();
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(message(kAvx512, "", Numerics::kExact, "bcq_linear_f32_lut4_avx512",
                      absl::StatusCode::kInvalidArgument),
              AllOf(HasSubstr("\"bcq_linear_f32_lut4_avx512\" is unknown"),
                    HasSubstr("did you mean \"bcq_linear_f32_lut4__avx512\""),
                    HasSubstr("doctor --kernels")));
  EXPECT_THAT(message(kAvx2Only, "", Numerics::kExact,
                      "dense_linear_f32_chain__avx2,dense_linear_f32_chain__avx512",
                      absl::StatusCode::kFailedPrecondition),
              AllOf(HasSubstr("dense_linear_f32_chain__avx512"), HasSubstr("lacks AVX-512")));
  EXPECT_THAT(message(kAvx512, "", Numerics::kInt8, "bcq_linear_i8_lut4__avx512",
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("lacks AVX-512 VBMI or VNNI"));
  EXPECT_THAT(message(kVnni, "", Numerics::kInt8, "bcq_linear_i8_amx__avx512",
                      absl::StatusCode::kFailedPrecondition),
              AllOf(HasSubstr("lacks AMX-INT8"), HasSubstr("does not let this process use it")));
  EXPECT_THAT(message(kAvx512, "cpu_avx2", Numerics::kExact, "bcq_linear_f32_lut4__avx512",
                      absl::StatusCode::kFailedPrecondition),
              HasSubstr("BITDIAL_FORCE_BACKEND is cpu_avx2"));
  EXPECT_THAT(message(kAvx512, "", Numerics::kExact, "bcq_linear_i8_lut4__avx2",
                      absl::StatusCode::kFailedPrecondition),
              AllOf(HasSubstr("is of class bcq_i8"), HasSubstr("choose numerics int8")));
}

// A flag without effect stops the start.
TEST(KernelTable, AForcedRowThatNothingUsesIsAnError) {
  const KernelTable table = *KernelTable::Create(
      kAvx512, "", Numerics::kInt8, "bcq_linear_f32_lut4__avx2,dense_linear_f32_chain__avx2");
  EXPECT_TRUE(table
                  .CheckForcedRowsUsed({"bcq_linear_f32_lut4__avx2", "dense_linear_f32_chain__avx2",
                                        "rope_f32__avx2"})
                  .ok());
  const absl::Status unused = table.CheckForcedRowsUsed({"dense_linear_f32_chain__avx2"});
  EXPECT_EQ(unused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unused.message()),
              AllOf(HasSubstr("bcq_linear_f32_lut4__avx2 runs nothing"), HasSubstr("lut4_f32"),
                    HasSubstr("role decode"), HasSubstr("numerics are int8"),
                    HasSubstr("or one of: dense_linear_f32_chain__avx2")));
  EXPECT_TRUE(KernelTable::Create(kAvx512, "")->CheckForcedRowsUsed({}).ok());
}

TEST(KernelTable, TheForcedBackendIsTheActiveOne) {
  for (Backend backend : {Backend::kCpuRef, Backend::kCpuAvx2, Backend::kCpuAvx512}) {
    const KernelTable table = KernelTable::Create(kAvx512, Name(backend)).value();
    EXPECT_EQ(table.backend(), backend);
    EXPECT_EQ((*table.Find(kDensePrompt, kDenseShape))->backend, backend);
    for (const KernelRow& row : AllRows()) {
      EXPECT_EQ(table.IsRunnable(row),
                row.extension == Extension::kNone &&
                    (row.backend == backend || row.backend == Backend::kCpuRef))
          << row.name;
    }
    for (Backend found : BackendsFound(table)) {
      EXPECT_TRUE(found == backend || found == Backend::kCpuRef) << Name(found);
    }
  }
}

TEST(KernelTable, TheReferenceFillsTheGapsOfAForcedBackend) {
  const KernelTable table = KernelTable::Create(kAvx512, "cpu_avx2").value();
  const KernelKey wide = {.op = Op::kAttention, .kv_format = KvFormat::kF16};
  const auto row = table.Find(wide, {.num_heads = 1, .num_kv_heads = 1, .head_dim = 512});
  ASSERT_TRUE(row.ok()) << row.status().message();
  EXPECT_EQ((*row)->backend, Backend::kCpuRef);
}

TEST(KernelTable, RefusesABackendItCannotRun) {
  const auto unknown = KernelTable::Create(kAvx512, "avx2");
  EXPECT_EQ(unknown.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(unknown.status().message()),
              HasSubstr("cpu_ref, cpu_avx2, cpu_avx512, cuda"));
  for (const auto& [features, name] :
       {std::pair{kNothing, "cpu_avx2"}, {kAvx2Only, "cpu_avx512"}, {kAvx512, "cuda"}}) {
    const auto lacking = KernelTable::Create(features, name);
    EXPECT_EQ(lacking.status().code(), absl::StatusCode::kFailedPrecondition) << name;
    EXPECT_THAT(std::string(lacking.status().message()), HasSubstr(name));
  }
}

TEST(KernelTable, FindSaysWhyThereIsNoRow) {
  const KernelTable table = KernelTable::Create(kAvx2Only, "").value();
  const auto wrong_shape =
      table.Find(kDensePrompt, {.in_features = 0, .out_features = 8, .weight_dtype = DType::kU8});
  EXPECT_EQ(wrong_shape.status().code(), absl::StatusCode::kUnimplemented);
  const std::string message(wrong_shape.status().message());
  for (const char* part : {"linear", "dense", "role prompt", "out_features 8", "dtype u8",
                           "dense_linear_f32_chain__avx2: in_features 0 is not positive",
                           "dense_linear_f32_chain__avx512: not runnable here"}) {
    EXPECT_THAT(message, HasSubstr(part));
  }
  const auto no_row = table.Find({.op = Op::kAttention}, {});
  EXPECT_THAT(std::string(no_row.status().message()), HasSubstr("no row for the key"));
}

TEST(KernelTable, ReadsTheEnvironment) {
  ASSERT_EQ(setenv("BITDIAL_FORCE_BACKEND", "cpu_ref", 1), 0);
  EXPECT_EQ(KernelTable::CreateFromEnvironment()->backend(), Backend::kCpuRef);
  ASSERT_EQ(setenv("BITDIAL_FORCE_BACKEND", "turbo", 1), 0);
  EXPECT_FALSE(KernelTable::CreateFromEnvironment().ok());
  ASSERT_EQ(unsetenv("BITDIAL_FORCE_BACKEND"), 0);
  EXPECT_TRUE(KernelTable::CreateFromEnvironment().ok());
  ASSERT_EQ(setenv("BITDIAL_FORCE_KERNEL", "dense_linear_f32__ref,turbo", 1), 0);
  EXPECT_THAT(std::string(KernelTable::CreateFromEnvironment().status().message()),
              HasSubstr("\"turbo\" is unknown"));
  // What a caller asks for goes before it.
  EXPECT_TRUE(KernelTable::CreateFromEnvironment(Numerics::kExact, "dense_linear_f32__ref").ok());
  ASSERT_EQ(unsetenv("BITDIAL_FORCE_KERNEL"), 0);
}

}  // namespace
}  // namespace bitdial::kernels
