module.exports = {
  testEnvironment: 'jsdom',
  testMatch: ['<rootDir>/test/**/*.spec.ts?(x)'],
  moduleNameMapper: { '\\.(svg|css)$': '<rootDir>/test/text.js' },
  transform: {
    '^.+\\.(ts|tsx|js|mjs)$': [
      'ts-jest',
      {
        tsconfig: {
          allowJs: true,
          esModuleInterop: true,
          jsx: 'react',
          module: 'CommonJS',
          moduleResolution: 'node10',
          target: 'ES2022'
        },
        diagnostics: false
      }
    ]
  },
  // Published as ES modules, which jest does not read.
  transformIgnorePatterns: [
    '/node_modules/(?!(@jupyterlab|@jupyter|@lumino|eventsource-parser|lib0|y-protocols|nanoid|@microsoft|exenv-es6)/)'
  ]
};
