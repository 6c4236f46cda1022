# Run as a script at every build, because a commit runs no configure step:
#   cmake -DSOURCE_DIR=... -DOUTPUT=commit.cc [-DCOMMIT=...] -P WriteCommit.cmake
# Writes the definition of bitdial::server::Commit(), and leaves the file alone when it would not change.
set(commit unknown)
if(COMMIT)
  set(commit ${COMMIT})
elseif(EXISTS ${SOURCE_DIR}/.git)  # else git would tell of a repository that the tree only lies in
  find_program(GIT git)
  if(GIT)
    execute_process(
      COMMAND ${GIT} --no-optional-locks -C ${SOURCE_DIR} describe --always --abbrev=12 --exclude=* --dirty
      OUTPUT_VARIABLE described RESULT_VARIABLE failed ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT failed)
      set(commit ${described})
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} @ONLY CONTENT [[
#include "server/version.h"
const char* bitdial::server::Commit() { return "@commit@"; }
]])
