#include <cstring>

#include "quant/container/file_writer.h"
#include "quant/container/gguf_file.h"

namespace bitdial::quant {

absl::Status WriteVocabGguf(const GgufFile& source, const std::string& path) {
  const std::span<const std::byte> metadata = source.metadata_bytes();
  struct Header {
    char magic[4] = {'G', 'G', 'U', 'F'};
    uint32_t version;
    uint64_t num_tensors = 0;
    uint64_t num_values;
  } header{.version = source.version(), .num_values = source.num_values()};
  static_assert(sizeof(Header) == 24);

  BITDIAL_ASSIGN_OR_RETURN(std::unique_ptr<FileWriter> writer,
                           FileWriter::Create(path, sizeof(header) + metadata.size()));
  BITDIAL_RETURN_IF_ERROR(writer->WriteAt(0, std::as_bytes(std::span(&header, 1))));
  BITDIAL_RETURN_IF_ERROR(writer->WriteAt(sizeof(header), metadata));
  return writer->Finish();
}

}  // namespace bitdial::quant
