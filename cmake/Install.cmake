# What `cmake --install` puts under its prefix, and the Debian package that `cpack` makes of the same files.
# share/bitdial/ has the folders of the repository, so that links between its pages hold. Nothing that is installed
# knows its own place: the tree can be moved.
install(TARGETS bitdial RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY configs DESTINATION ${CMAKE_INSTALL_DATADIR}/bitdial FILES_MATCHING PATTERN "*.json"
        PATTERN "haproxy.cfg" PATTERN "*.yml")
install(FILES docs/api.md docs/bench_serve.md docs/cli.md docs/configuration.md docs/container.md docs/glossary.md
              docs/operations.md docs/security.md
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bitdial/docs)
install(FILES proto/bitdial/v1/admin.proto proto/bitdial/v1/inference.proto
        DESTINATION ${CMAKE_INSTALL_DATADIR}/bitdial/proto/bitdial/v1)
install(FILES LICENSE CHANGELOG.md cmake/copyright DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/bitdial)

set(CMAKE_SKIP_INSTALL_ALL_DEPENDENCY ON)  # `cmake --build --target install` needs no test
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME bitdial)
set(CPACK_PACKAGE_VENDOR "the Bitdial authors")
set(CPACK_PACKAGE_CONTACT "the Bitdial authors")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "LLM inference server whose requests say how many bits of the weights they read")
set(CPACK_PACKAGE_DESCRIPTION
"One checkpoint holds the weights of a Llama or OPT model as nested bit-planes; requests of
different bits run together in one batch. The package has the server, its client and
the tools that quantize, generate and evaluate, all in one executable.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_PRE_BUILD_SCRIPTS ${CMAKE_SOURCE_DIR}/cmake/PackagePermissions.cmake)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)  # bitdial_0.1.0_amd64.deb
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)  # Depends is what the executable links
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
include(CPack)
