#include "server/config/address.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>

namespace bitdial::server {
namespace {

constexpr int kMaxPort = 65535;
constexpr char kUnix[] = "unix:";
constexpr size_t kUnixSize = sizeof(kUnix) - 1;

// A NUL would end the address early for inet_pton, and for whoever resolves it.
bool IsV6(const std::string& text) {
  if (!std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < '\x7f'; }))
    return false;
  in6_addr v6;
  return inet_pton(AF_INET6, text.substr(0, text.find('%')).c_str(), &v6) == 1;  // % begins a zone
}

bool IsNameOrV4(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '-' || c == '.' || c == '_';
  });
}

bool IsLoopback(const std::string& host) {
  in_addr v4;
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  return host == "localhost" || host == "::1";
}

}  // namespace

absl::StatusOr<Address> ParseAddress(const std::string& text, const std::string& what,
                                     int min_port) {
  const size_t colon = std::min(text.rfind(':'), text.size());
  std::string host = text.substr(0, colon);
  const bool is_bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (is_bracketed) host = host.substr(1, host.size() - 2);
  if (colon == text.size() || !(is_bracketed ? IsV6(host) : IsNameOrV4(host))) {
    return InvalidArgument(
        "{} \"{}\" is no ADDR:PORT; expected for example 127.0.0.1:50051 or [::1]:50051", what,
        text);
  }
  Address address{.host = host, .is_loopback = IsLoopback(host)};
  const char* const end = text.data() + text.size();
  const std::from_chars_result parsed = std::from_chars(text.data() + colon + 1, end, address.port);
  if (parsed.ec != std::errc() || parsed.ptr != end || address.port < min_port ||
      address.port > kMaxPort) {
    return InvalidArgument("{} \"{}\": the port is \"{}\", expected a whole number in [{}, {}]",
                           what, text, text.substr(colon + 1), min_port, kMaxPort);
  }
  return address;
}

bool IsUnixAddress(const std::string& text) { return text.compare(0, kUnixSize, kUnix) == 0; }

absl::Status CheckUnixAddress(const std::string& text, const std::string& what) {
  constexpr size_t kMaxPathBytes = sizeof(sockaddr_un::sun_path) - 1;
  const std::string path = text.substr(kUnixSize);
  if (path.size() < 2 || path.front() != '/' || path.size() > kMaxPathBytes ||
      path.find('\0') != std::string::npos) {
    return InvalidArgument(
        "{} \"{}\": expected unix: and an absolute path of at most {} bytes, for example "
        "unix:/run/bitdial/admin.sock",
        what, text, kMaxPathBytes);
  }
  return absl::OkStatus();
}

std::string ExplainBindFailure(const Address& address) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (const int error =
          getaddrinfo(address.host.c_str(), std::to_string(address.port).c_str(), &hints, &found)) {
    return gai_strerror(error);
  }
  std::string reason = "the system gives no reason; try again";
  const int socket_fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
  if (socket_fd < 0 || bind(socket_fd, found->ai_addr, found->ai_addrlen) != 0)
    reason = std::strerror(errno);
  if (socket_fd >= 0) close(socket_fd);
  freeaddrinfo(found);
  return reason;
}

}  // namespace bitdial::server
